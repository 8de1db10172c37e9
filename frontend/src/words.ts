/** What tools, agents and rules are called on the screen. What is not listed is shown by its own name. */

type Arguments = Readonly<Record<string, unknown>>;

const AGENTS: Readonly<Record<string, string>> = {
  concierge: "Concierge",
  orders: "Orders desk",
  research: "Research desk",
  scheduling: "Delivery desk",
};

const RULES: Readonly<Record<string, string>> = {
  prompt_injection: "it tries to change how the concierge works",
  card_number: "it contains a card number",
  off_topic: "it is outside what the concierge may advise on",
  refund_limit: "the amount is above the limit",
  tool_budget: "too many attempts in one answer",
  session_budget: "this conversation has become too long",
};

const STEPS: Readonly<Record<string, string>> = {
  open_brief: "Open a brief",
  catalogue: "Read the catalogue",
  purchases: "Read past purchases",
  write_brief: "Write the brief",
};

const CUTS: Readonly<Record<string, string>> = {
  stopped: "Stopped",
  RUN_TIMEOUT: "Stopped because it took too long",
};

const plain = (name: string): string => name.replaceAll("_", " ");
const show = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? String(value) : "…");

const TOOLS: Readonly<Record<string, (a: Arguments) => string>> = {
  lookup_order: (a) => `Look up order ${show(a.order_id)}`,
  issue_refund: (a) => `Refund ${show(a.amount)} on order ${show(a.order_id)}`,
  book_slot: (a) => `Book a delivery of order ${show(a.order_id)} on ${show(a.day)}`,
  research_brief: (a) => `Research ${show(a.topic)}`,
};

export const agentName = (name: string): string => AGENTS[name] ?? plain(name);
export const ruleReason = (rule: string): string => RULES[rule] ?? `of the rule “${plain(rule)}”`;
export const toolTitle = (tool: string, given: Arguments): string => TOOLS[tool]?.(given) ?? plain(tool);
/** What is said below an answer that ended early. */
export const cutNotice = (reason: string, said: boolean): string =>
  `${CUTS[reason] ?? "Interrupted by a fault on our side"}. ${said ? "This answer is not complete." : "There is no answer."}`;
export const stepName = (step: string): string => STEPS[step] ?? plain(step);
export const plainName = plain;

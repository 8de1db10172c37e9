// The page: an order lookup and a chat that reads AG-UI events from the CopilotKit runtime on its own origin.
const RUNTIME = "%RUNTIME%";
const FEATURES = new Set(%FEATURES%);
const $ = (id) => document.getElementById(id);
const log = $("log");
let thread = sessionStorage.getItem("thread") ?? crypto.randomUUID();
sessionStorage.setItem("thread", thread);
let running = false;

function line(kind, text = "") {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  log.append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

function approval(interrupt) {
  const call = interrupt.metadata?.adk?.originalFunctionCall ?? { name: "a tool", args: {} };
  const item = line("ask", `May I do this? ${call.name} ${JSON.stringify(call.args)}`);
  const buttons = document.createElement("div");
  for (const [label, confirmed] of [["Approve", true], ["Refuse", false]]) {
    const button = document.createElement("button");
    button.textContent = label;
    if (!confirmed) button.className = "plain";
    button.onclick = () => {
      buttons.remove();
      run({ messages: [], resume: [{ interruptId: interrupt.id, status: "resolved", payload: { confirmed } }] });
    };
    buttons.append(button);
  }
  item.append(buttons);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const frames = held.split("\n\n");
    held = frames.pop();
    for (const frame of frames) if (frame.startsWith("data: ")) yield JSON.parse(frame.slice(6));
  }
}

function show(event, open) {
  switch (event.type) {
    case "TEXT_MESSAGE_START": open.set(event.messageId, line("agent")); break;
    case "TEXT_MESSAGE_CONTENT": {
      const item = open.get(event.messageId) ?? open.set(event.messageId, line("agent")).get(event.messageId);
      item.append(event.delta);
      break;
    }
    case "TOOL_CALL_START":
      if (!["transfer_to_agent", "adk_request_confirmation"].includes(event.toolCallName)) line("tool", event.toolCallName);
      break;
    case "CUSTOM": if (event.name === "guardrail.block") line("blocked", `Blocked by rule ${event.value.rule}`); break;
    case "RUN_ERROR": line("blocked", event.message); break;
    case "RUN_FINISHED": (event.outcome?.interrupts ?? []).forEach(approval); break;
  }
}

async function run(input) {
  running = true;
  $("stop").hidden = false;
  try {
    const response = await fetch(`${RUNTIME}/agent/default/run`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ threadId: thread, runId: crypto.randomUUID(), state: {}, tools: [], context: [], forwardedProps: {}, ...input }),
    });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).message ?? `HTTP ${response.status}`);
    const open = new Map();
    for await (const event of events(response)) show(event, open);
  } catch (error) {
    line("blocked", `That did not work: ${error.message}`);
  } finally {
    running = false;
    $("stop").hidden = true;
  }
}

function say(words) {
  if (running) return;
  line("user", words);
  run({ messages: [{ id: crypto.randomUUID(), role: "user", content: words }] });
}

function row(list, name, value) {
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.textContent = value;
  list.append(term, detail);
}

async function lookup(number) {
  const list = $("order");
  list.replaceChildren();
  const response = await fetch(`/api/orders/${number}`);
  if (!response.ok) return row(list, "Order", response.status === 404 ? "not found" : `error ${response.status}`);
  const order = await response.json();
  for (const name of ["item", "amount", "currency", "status", "refunded"]) row(list, name, order[name]);
  $("backend").textContent = order.version;
  if (!FEATURES.has("delivery")) return;
  const delivery = await fetch(`/api/orders/${number}/delivery`);
  if (delivery.ok) {
    const { promised_on: day, carrier } = await delivery.json();
    row(list, "arrives", day ? `${day}, ${carrier}` : "delivered");
  }
}

$("say").onsubmit = (event) => { event.preventDefault(); say($("words").value.trim()); $("words").value = ""; };
$("lookup").onsubmit = (event) => { event.preventDefault(); lookup($("number").value); };
$("stop").onclick = () => fetch(`${RUNTIME}/agent/default/stop/${thread}`, { method: "POST" });
const examples = ["Where is order 42?", "Refund order 42 for 80", "Research oak bookshelf"];
if (FEATURES.has("delivery")) examples.push("When does order 43 arrive?");
for (const example of examples) {
  const button = document.createElement("button");
  button.textContent = example;
  button.onclick = () => say(example);
  $("suggestions").append(button);
}
lookup("42").catch(() => {});

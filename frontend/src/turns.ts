/**
 * A conversation as a person sees it: turns, each with what was asked, what was done and what was said. Pure.
 *
 * The backend sends its messages twice, streamed and then as a snapshot with other ids. Turns and parts are therefore
 * named by their place, so that nothing on the screen is torn down when an answer ends.
 */
import type { Message } from "@copilotkit/react-core/v2";
import type { Pipeline, Pipelines } from "./pipelines";

/** A guardrail's decision. `turn` counts the user's messages, from 1. */
export interface Block {
  readonly turn: number;
  readonly rule: string;
  readonly stage: string;
}

/** `blocks` with one more; the same block is kept once. */
export function withBlock(blocks: readonly Block[], value: unknown, asked: number): readonly Block[] {
  const { rule, stage, turn = asked } = (value ?? {}) as Record<string, unknown>;
  if (typeof rule !== "string" || typeof stage !== "string" || typeof turn !== "number") return blocks;
  const known = blocks.some((block) => block.turn === turn && block.rule === rule && block.stage === stage);
  return known ? blocks : [...blocks, { turn, rule, stage }];
}

/** Why an answer ended early, by turn (the user's messages, from 1): `stopped`, or the code of a failure. */
export type Cuts = ReadonlyMap<number, string>;

/** `cuts` with one more; the backend names the turn only when it tells the past. */
export function withCut(cuts: Cuts, value: unknown, asked: number): Cuts {
  const { reason, turn = asked } = (value ?? {}) as Record<string, unknown>;
  if (typeof reason !== "string" || typeof turn !== "number") return cuts;
  return cuts.get(turn) === reason ? cuts : new Map(cuts).set(turn, reason);
}

/** `cuts` without the one of a turn whose answer goes on. */
export function withoutCut(cuts: Cuts, turn: number): Cuts {
  if (!cuts.has(turn)) return cuts;
  return new Map([...cuts].filter(([cut]) => cut !== turn));
}

export type StepState = "running" | "done" | "waiting" | "blocked" | "refused" | "failed" | "stopped";

export interface Step {
  readonly tool: string;
  readonly state: StepState;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** The guardrail's rule, if it is blocked. */
  readonly rule?: string;
  /** What the call does step by step, if it says so. */
  readonly pipeline?: Pipeline;
}

export type Part =
  | { readonly kind: "text"; readonly key: string; readonly text: string; readonly agent: string }
  | { readonly kind: "step"; readonly key: string; readonly step: Step };

export interface Turn {
  readonly key: string;
  readonly asked: string | null;
  readonly parts: readonly Part[];
  /** The rule that kept the agents from seeing what was asked. */
  readonly blockedBy: string | null;
  /** Why the answer ended early, if it did. */
  readonly cut: string | null;
}

/** Calls that are the machinery's own; approvals have a card, handovers show in the agents' names. */
const UNSEEN = new Set(["adk_request_confirmation", "transfer_to_agent"]);

/** The text of a message whose content may be a string or parts. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (part?.type === "text" && typeof part.text === "string" ? part.text : "")).join("");
}

function objectOf(json: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {}; // arguments that are still being streamed
  }
}

/** Whether a result only says that somebody must agree first. */
const asksForConsent = (result: string): boolean => result.includes("requires confirmation");

/** The result of each tool call, by the call's id. */
export type Results = ReadonlyMap<string, string>;

/** `known` with more results; a question never takes the place of an answer. */
export function withResults(known: Results, more: Iterable<readonly [string, string]>): Results {
  const next = new Map(known);
  for (const [call, result] of more) if (!next.has(call) || !asksForConsent(result)) next.set(call, result);
  return next;
}

/** Where a tool call stands, from its newest result. */
export function stateOf(result: string | undefined, live: boolean): StepState {
  if (result === undefined) return live ? "running" : "stopped";
  const { status, error } = objectOf(result);
  if (typeof error === "string") {
    if (asksForConsent(result)) return live ? "running" : "waiting";
    return error.includes("rejected") ? "refused" : "failed";
  }
  if (status === "blocked") return "blocked";
  return status === "refused" || status === "not_found" || status === "full" ? "refused" : "done";
}

/**
 * Turns in order.
 * @param results what tools answered, by call
 * @param running an answer is under way, which makes calls of the last turn live
 * @param pipelines how far pipelines are, by call
 * @param cuts which answers ended early
 */
export function turnsOf(
  messages: readonly Message[],
  results: Results,
  blocks: readonly Block[],
  running: boolean,
  pipelines: Pipelines = NONE,
  cuts: Cuts = UNCUT,
): readonly Turn[] {
  const turns: { asked: string | null; messages: Message[] }[] = [];
  for (const message of messages) {
    if (message.role === "user") turns.push({ asked: textOf(message.content), messages: [] });
    else if (message.role === "assistant") {
      if (turns.length === 0) turns.push({ asked: null, messages: [] });
      turns.at(-1)?.messages.push(message);
    }
  }
  let number = 0;
  const desk: Desk = { agent: "concierge" };
  return turns.map(({ asked, messages: said }, index) => {
    if (asked !== null) number += 1;
    const block = blocks.find((b) => b.turn === number && b.stage === "input");
    const live = running && index === turns.length - 1;
    return {
      key: `turn-${index}`,
      asked,
      parts: partsOf(said, results, live, desk, pipelines),
      blockedBy: block?.rule ?? null,
      cut: (live ? null : cuts.get(number)) ?? null,
    };
  });
}

const NONE: Pipelines = new Map();
const UNCUT: Cuts = new Map();

/** Who answers now. Streamed messages do not say, handovers do; they last until the next one. */
interface Desk {
  agent: string;
}

function partsOf(
  said: readonly Message[],
  results: Results,
  live: boolean,
  desk: Desk,
  pipelines: Pipelines,
): readonly Part[] {
  const parts: Part[] = [];
  const calls = new Set<string>();
  for (const message of said) {
    if (message.role !== "assistant") continue;
    const text = textOf(message.content);
    if (message.name) desk.agent = message.name;
    if (text) parts.push({ kind: "text", key: `part-${parts.length}`, text, agent: desk.agent });
    for (const call of message.toolCalls ?? []) {
      if (call.function.name === "transfer_to_agent") {
        const { agent_name: next } = objectOf(call.function.arguments);
        if (typeof next === "string") desk.agent = next;
      }
      if (UNSEEN.has(call.function.name) || calls.has(call.id)) continue;
      calls.add(call.id);
      const result = results.get(call.id);
      const rule = objectOf(result ?? "").rule;
      const pipeline = pipelines.get(call.id);
      const step: Step = {
        tool: call.function.name,
        state: stateOf(result, live),
        arguments: objectOf(call.function.arguments),
        ...(typeof rule === "string" ? { rule } : {}),
        ...(pipeline ? { pipeline } : {}),
      };
      parts.push({ kind: "step", key: `part-${parts.length}`, step });
    }
  }
  return parts;
}

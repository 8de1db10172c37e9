/** What waits for the approval of this person, who is an approver: the backend's list, and the answers to it. */
import { RUNTIME_URL } from "./runtime";

const API_URL = `${RUNTIME_URL.replace(/\/copilotkit$/, "")}/api/approvals`;
const PATIENCE = 8_000; // milliseconds
/** Characters of a reason that the backend takes. */
export const REASON = 500;

/** A question of another person. */
export interface Waiting {
  readonly user: string;
  readonly thread: string;
  readonly call: string;
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Milliseconds since the epoch. */
  readonly requestedAt: number;
}

/** `forbidden`: not an approver, or signed out. `away`: no answer that can be used. */
export type Found = readonly Waiting[] | "forbidden" | "away";
/** `gone`: somebody else was faster, or the asker went on. */
export type Outcome = "done" | "gone" | "forbidden" | "away";

export const keyOf = ({ user, thread, call }: Waiting): string => JSON.stringify([user, thread, call]);

function waitingOf(value: unknown): Waiting[] {
  const { user, thread, call, tool, arguments: given, requestedAt } = (value ?? {}) as Record<string, unknown>;
  if (![user, thread, call, tool].every((part) => typeof part === "string")) return [];
  const at = Date.parse(String(requestedAt));
  return [
    {
      user: user as string,
      thread: thread as string,
      call: call as string,
      tool: tool as string,
      arguments: typeof given === "object" && given !== null ? (given as Record<string, unknown>) : {},
      requestedAt: Number.isNaN(at) ? 0 : at,
    },
  ];
}

/** The open questions, the oldest first. Never throws. */
export async function waitingApprovals(): Promise<Found> {
  try {
    const answer = await fetch(API_URL, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401 || answer.status === 403) return "forbidden";
    const body = answer.ok ? ((await answer.json()) as { approvals?: unknown }) : {};
    return Array.isArray(body.approvals) ? body.approvals.flatMap(waitingOf) : "away";
  } catch {
    return "away";
  }
}

/** Answers one. Never throws. */
export async function answerApproval(question: Waiting, confirmed: boolean, reason: string): Promise<Outcome> {
  const { user, thread, call } = question;
  const line = reason.trim().replace(/\s+/g, " ").slice(0, REASON);
  try {
    const answer = await fetch(API_URL, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user, thread, call, confirmed, ...(line ? { reason: line } : {}) }),
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.ok) return "done";
    if (answer.status === 404) return "gone";
    return answer.status === 401 || answer.status === 403 ? "forbidden" : "away";
  } catch {
    return "away";
  }
}

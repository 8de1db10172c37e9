/**
 * The list of conversations. The backend knows them all; this tab keeps the last list that it saw, so that there is one
 * without a network, and what was begun since.
 *
 * The backend's list wins, and titles go with the tab: on a shared computer those of whoever signed in before must not
 * stay. What was taken off the list (ids, no titles) stays with the browser.
 */
import { useSyncExternalStore } from "react";
import { type Limits, limitsOf, NO_LIMITS } from "./room";
import { RUNTIME_URL } from "./runtime";

const KEY = "concierge.threads.v2";
const HIDDEN = "concierge.hidden.v1";
const MOST = 50;
const JUST_BEGUN = 30_000; // milliseconds that the backend may take to list a new conversation
const PATIENCE = 8_000;

export interface Thread {
  readonly id: string;
  readonly title: string;
  /** Milliseconds since the epoch. */
  readonly usedAt: number;
  /** An agent asked something that nobody has answered. */
  readonly waiting: boolean;
  readonly running: boolean;
  /** Runs that the thread has had, as far as the backend said. */
  readonly runs: number;
}

export interface ThreadList {
  readonly threads: readonly Thread[];
  /** Whether there are older ones to ask for. */
  readonly more: boolean;
  /** The backend did not answer: this is what the browser remembers. */
  readonly remembered: boolean;
  /** What one conversation can hold. */
  readonly limits: Limits;
  /** Requests of others that wait for this person; null for everybody who is no approver. */
  readonly approvals: number | null;
}

const listeners = new Set<() => void>();
let threads: readonly Thread[] = stored(KEY, []).flatMap(threadOf).slice(0, MOST);
let hidden: Readonly<Record<string, number>> = stored(HIDDEN, {});
let next: string | null = null;
let paged = false;
let remembered = false;
let limits = NO_LIMITS;
let approvals: number | null = null;
/** When a thread was used here that the backend has not listed since. */
const begun = new Map<string, number>();
let list = listOf();
leaveNothing();

function storeOf(key: string): Storage {
  return key === KEY ? window.sessionStorage : window.localStorage;
}

function stored<Value>(key: string, otherwise: Value): Value {
  try {
    const value: unknown = JSON.parse(storeOf(key).getItem(key) ?? "null");
    const same = typeof value === "object" && value !== null && Array.isArray(value) === Array.isArray(otherwise);
    return same ? (value as Value) : otherwise;
  } catch {
    return otherwise;
  }
}

/** Earlier versions kept titles with the browser. */
function leaveNothing(): void {
  try {
    for (const version of ["v1", "v2"]) window.localStorage.removeItem(`concierge.threads.${version}`);
  } catch {
    // a forbidden store holds nothing
  }
}

function keep(key: string, value: unknown): void {
  try {
    storeOf(key).setItem(key, JSON.stringify(value));
  } catch {
    // private mode or a full disk: the list lasts as long as the page
  }
}

function threadOf(value: unknown): Thread[] {
  const { id, title, usedAt, waiting, running, runs } = (value ?? {}) as Record<string, unknown>;
  if (typeof id !== "string" || typeof title !== "string" || typeof usedAt !== "number") return [];
  return [
    {
      id,
      title: title || "Conversation",
      usedAt,
      waiting: waiting === true,
      running: running === true,
      runs: typeof runs === "number" ? runs : 0,
    },
  ];
}

/** A thread as the backend lists it. */
function listedOf(value: unknown): Thread[] {
  const { lastActivity, waitingForApproval, ...rest } = (value ?? {}) as Record<string, unknown>;
  const usedAt = Date.parse(String(lastActivity));
  return Number.isNaN(usedAt) ? [] : threadOf({ ...rest, usedAt, waiting: waitingForApproval });
}

function listOf(): ThreadList {
  // one that was taken off the list comes back when it is used again
  const shown = threads.filter((thread) => thread.usedAt > (hidden[thread.id] ?? 0));
  return { threads: shown, more: next !== null, remembered, limits, approvals };
}

function show(all: readonly Thread[]): void {
  threads = [...new Map([...all].reverse().map((thread) => [thread.id, thread])).values()].sort(
    (a, b) => b.usedAt - a.usedAt,
  );
  keep(KEY, threads.slice(0, MOST));
  list = listOf();
  for (const listener of listeners) listener();
}

async function page(cursor: string): Promise<{ found: Thread[]; following: string | null } | null> {
  try {
    const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
    const answer = await fetch(`${RUNTIME_URL}/threads${query}`, {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.status === 401 || answer.status === 403) return { found: [], following: null };
    if (!answer.ok) return null;
    const body = (await answer.json()) as Record<"threads" | "next" | "limits" | "approvals", unknown>;
    if (!Array.isArray(body.threads)) return null;
    limits = limitsOf(body.limits);
    approvals = typeof body.approvals === "number" ? body.approvals : null;
    return { found: body.threads.flatMap(listedOf), following: typeof body.next === "string" ? body.next : null };
  } catch {
    return null;
  }
}

let asking: Promise<void> | null = null;
let askAgain = false;

/** Asks the backend for the newest threads. Never throws; calls while one is under way make one more. */
export function refresh(): Promise<void> {
  if (asking) {
    askAgain = true;
    return asking;
  }
  asking = ask().finally(() => {
    asking = null;
    if (!askAgain) return;
    askAgain = false;
    void refresh();
  });
  return asking;
}

async function ask(): Promise<void> {
  const answer = await page("");
  remembered = answer === null;
  if (answer === null) return show(threads);
  const { found, following } = answer;
  for (const thread of found) begun.delete(thread.id);
  const mine = threads.filter((thread) => Date.now() - (begun.get(thread.id) ?? 0) < JUST_BEGUN);
  // older pages that were asked for stay
  const last = found.at(-1)?.usedAt ?? 0;
  const earlier = paged ? threads.filter((thread) => thread.usedAt < last) : [];
  if (!paged) next = following;
  show([...found, ...mine, ...earlier]);
}

/** Adds the next page of older threads. Never throws. */
export async function older(): Promise<void> {
  if (next === null) return;
  const answer = await page(next);
  remembered = answer === null;
  if (answer === null) return show(threads);
  paged = true;
  next = answer.following;
  show([...threads, ...answer.found]);
}

/** Notes that a thread was used now; its first words are its title. */
export function used(id: string, words: string, now: number): void {
  const known = threads.find((thread) => thread.id === id);
  const plain = words.trim().replace(/\s+/g, " ");
  const title = known?.title ?? (plain.length > 80 ? `${plain.slice(0, 79)}…` : plain || "Conversation");
  begun.set(id, now);
  show([{ id, title, usedAt: now, waiting: false, running: true, runs: (known?.runs ?? 0) + 1 }, ...threads]);
}

/** Takes a thread off this browser's list. The conversation stays in the backend, under its address. */
export function forget(id: string): void {
  const usedAt = threads.find((thread) => thread.id === id)?.usedAt ?? 0;
  hidden = { ...hidden, [id]: Math.max(usedAt, Date.now()) };
  const kept = Object.entries(hidden).sort(([, a], [, b]) => b - a);
  keep(HIDDEN, Object.fromEntries(kept.slice(0, 200)));
  show(threads);
}

function subscribe(listener: () => void): () => void {
  const other = (event: StorageEvent) => {
    if (event.key !== HIDDEN) return;
    hidden = stored(HIDDEN, {}); // another tab wrote
    list = listOf();
    listener();
  };
  listeners.add(listener);
  window.addEventListener("storage", other);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", other);
  };
}

/** The list, the last used first. */
export function useThreads(): ThreadList {
  return useSyncExternalStore(subscribe, () => list);
}

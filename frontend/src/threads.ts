/**
 * The conversations that this browser knows: titles for the list, and which turns a guardrail blocked.
 *
 * The conversations themselves live in the backend. This is a bookmark list in local storage: if it is lost or full,
 * the page goes on with what is in memory.
 */
import { useSyncExternalStore } from "react";

const KEY = "concierge.threads.v1";
const MOST = 50;

/** A guardrail's decision. `turn` counts the user's messages, from 1. */
export interface Block {
  readonly turn: number;
  readonly rule: string;
  readonly stage: string;
}

export interface ThreadNote {
  readonly id: string;
  readonly title: string;
  readonly usedAt: number;
  readonly blocks: readonly Block[];
}

const listeners = new Set<() => void>();
let notes: readonly ThreadNote[] = read();

function read(): readonly ThreadNote[] {
  try {
    const stored: unknown = JSON.parse(window.localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored.flatMap(noteOf).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

function noteOf(value: unknown): ThreadNote[] {
  const { id, title, usedAt, blocks } = (value ?? {}) as Record<string, unknown>;
  if (typeof id !== "string" || typeof title !== "string" || typeof usedAt !== "number") return [];
  const known = Array.isArray(blocks) ? blocks : [];
  return [
    { id, title, usedAt, blocks: known.filter((b) => typeof b?.turn === "number" && typeof b?.rule === "string") },
  ];
}

function write(next: readonly ThreadNote[]): void {
  notes = [...next].sort((a, b) => b.usedAt - a.usedAt).slice(0, MOST);
  try {
    window.localStorage.setItem(KEY, JSON.stringify(notes));
  } catch {
    // private mode or a full disk: the list lasts as long as the page
  }
  for (const listener of listeners) listener();
}

const blank = (id: string): ThreadNote => ({ id, title: "Conversation", usedAt: 0, blocks: [] });
const find = (id: string): ThreadNote => notes.find((note) => note.id === id) ?? blank(id);
const put = (note: ThreadNote): void => write([note, ...notes.filter((other) => other.id !== note.id)]);

/** Notes that a thread was used now; the user's first words become its title. */
export function used(id: string, firstWords: string, now: number): void {
  const words = firstWords.trim().replace(/\s+/g, " ");
  put({ ...find(id), title: words.length > 60 ? `${words.slice(0, 59)}…` : words || "Conversation", usedAt: now });
}

/** Notes that a guardrail blocked something; the same block is noted once. */
export function blocked(id: string, block: Block): void {
  const note = find(id);
  if (note.blocks.some((b) => b.turn === block.turn && b.rule === block.rule && b.stage === block.stage)) return;
  put({ ...note, blocks: [...note.blocks, block] });
}

/** Takes a thread off the list. The conversation stays in the backend, under its address. */
export function forget(id: string): void {
  write(notes.filter((note) => note.id !== id));
}

function subscribe(listener: () => void): () => void {
  const other = (event: StorageEvent) => {
    if (event.key !== KEY) return;
    notes = read(); // another tab wrote
    listener();
  };
  listeners.add(listener);
  window.addEventListener("storage", other);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", other);
  };
}

/** All notes, newest first. */
export function useThreads(): readonly ThreadNote[] {
  return useSyncExternalStore(subscribe, () => notes);
}

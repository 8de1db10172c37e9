/** Short notices for screen readers, for actions that change little or nothing on the screen. */
import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let notice = "";

/** Reads `words` out. The same words twice are read out twice. */
export function announce(words: string): void {
  notice = notice === words ? `${words}\u00a0` : words;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The newest notice. */
export function useNotice(): string {
  return useSyncExternalStore(subscribe, () => notice);
}

/** What the address names: a conversation (`/t/<thread>`), a new one (`/`), or the page of an approver. */
import { useSyncExternalStore } from "react";

const THREAD = /^\/t\/([^/]{1,384})\/?$/;
export const APPROVALS = "/approvals";
const listeners = new Set<() => void>();

/** The thread of a path, or null. What the backend would refuse as an id counts as none. */
export function threadOf(path: string): string | null {
  const found = THREAD.exec(path)?.[1];
  if (!found) return null;
  try {
    const thread = decodeURIComponent(found);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
    return thread.length <= 128 && !/[\u0000-\u001f\u007f]/.test(thread) ? thread : null;
  } catch {
    return null;
  }
}

/** The address of a thread; of a new conversation for null. */
export function pathOf(thread: string | null): string {
  return thread === null ? "/" : `/t/${encodeURIComponent(thread)}`;
}

/** Changes the address without loading a page. `replace` leaves no entry in the history. */
export function go(thread: string | null, replace = false): void {
  goTo(pathOf(thread), replace);
}

/** The same for any path of the page. */
export function goTo(path: string, replace = false): void {
  if (path !== window.location.pathname) window.history[replace ? "replaceState" : "pushState"](null, "", path);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
  };
}

/** Whether a path is meant for a thread, yet can name none. */
export const namesNoThread = (path: string): boolean => /^\/t(\/|$)/.test(path) && threadOf(path) === null;

/** The path in the address bar, now and whenever it changes. */
export function usePath(): string {
  return useSyncExternalStore(subscribe, () => window.location.pathname);
}

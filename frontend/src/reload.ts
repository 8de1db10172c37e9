/**
 * A lazily loaded file of an old release is gone: the current release has its own, so the page is loaded again. Once a
 * minute at most, or a release that lacks a file would reload for ever.
 */

const KEY = "concierge.reloaded";
const PAUSE = 60_000; // milliseconds

/** Whether the page may be loaded again now; notes that it is. Without a place to note it, it may not. */
export function mayReload(store: Pick<Storage, "getItem" | "setItem">, now: number): boolean {
  try {
    if (now - Number(store.getItem(KEY)) < PAUSE) return false;
    store.setItem(KEY, String(now));
    return true;
  } catch {
    return false;
  }
}

/** Listens for files that cannot be loaded. `reload` is the page's own. */
export function reloadWhenFilesAreGone(page: Window = window, reload = () => page.location.reload()): void {
  page.addEventListener("vite:preloadError", (event) => {
    if (!page.navigator.onLine || !mayReload(page.sessionStorage, Date.now())) return;
    event.preventDefault();
    reload();
  });
}

/** A lazily loaded module. While the page is loaded again Vite gives nothing, which must not be drawn. */
export async function late<Module>(load: () => Promise<Module | undefined>): Promise<Module> {
  return (await load()) ?? new Promise<Module>(() => {});
}

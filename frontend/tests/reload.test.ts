import { beforeEach, describe, expect, it, vi } from "vitest";
import { late, mayReload, reloadWhenFilesAreGone } from "../src/reload";

const gone = () => new Event("vite:preloadError", { cancelable: true });

beforeEach(() => window.sessionStorage.clear());

describe("a file that is gone", () => {
  it("loads the page again once, and not again within a minute", () => {
    const reload = vi.fn();
    reloadWhenFilesAreGone(window, reload);
    const first = gone();
    window.dispatchEvent(first);
    expect(first.defaultPrevented).toBe(true);
    const second = gone();
    window.dispatchEvent(second);
    expect(second.defaultPrevented).toBe(false);
    expect(reload).toHaveBeenCalledOnce();
  });

  it("may load the page again after a minute", () => {
    expect(mayReload(window.sessionStorage, 1_000_000)).toBe(true);
    expect(mayReload(window.sessionStorage, 1_059_999)).toBe(false);
    expect(mayReload(window.sessionStorage, 1_060_000)).toBe(true);
  });

  it("does not load the page again without a network or a place to note it", () => {
    const refuse = () => {
      throw new DOMException("no", "SecurityError");
    };
    expect(mayReload({ getItem: () => null, setItem: refuse }, 1)).toBe(false);
    expect(mayReload({ getItem: refuse, setItem: () => {} }, 1_000_000)).toBe(false);
    const reload = vi.fn();
    vi.spyOn(window.navigator, "onLine", "get").mockReturnValue(false);
    reloadWhenFilesAreGone(window, reload);
    window.dispatchEvent(gone());
    expect(reload).not.toHaveBeenCalled();
  });
});

describe("late", () => {
  it("gives the module, hands failures on, and waits for the reload when there is none", async () => {
    await expect(late(async () => 7)).resolves.toBe(7);
    await expect(late(() => Promise.reject(new Error("404")))).rejects.toThrow("404");
    const settled = vi.fn();
    void late(async () => undefined).then(settled, settled);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(settled).not.toHaveBeenCalled();
  });
});

import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NO_LIMITS } from "../src/room";
import { ThreadList } from "../src/ThreadList";
import * as store from "../src/threads";

vi.mock("../src/threads", async (original) => ({
  ...(await original<typeof store>()),
  refresh: vi.fn(async () => {}),
  older: vi.fn(async () => {}),
  forget: vi.fn(),
}));

const thread = (id: string, more: Partial<store.Thread> = {}): store.Thread => ({
  id,
  title: `about ${id}`,
  usedAt: Date.UTC(2026, 0, 2, 12),
  waiting: false,
  running: false,
  runs: 0,
  ...more,
});

const NOTHING: store.ThreadList = { threads: [], more: false, remembered: false, limits: NO_LIMITS, approvals: null };

beforeEach(() => {
  window.localStorage.clear();
  vi.clearAllMocks();
});
afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

function shown(list: Partial<store.ThreadList>, current = "none") {
  const begin = vi.fn();
  render(<ThreadList list={{ ...NOTHING, ...list }} current={current} begin={begin} />);
  return begin;
}

describe("ThreadList", () => {
  it("says of each conversation what it waits for, or when it was used", () => {
    shown({ threads: [thread("a", { waiting: true }), thread("b", { running: true }), thread("c")] }, "b");
    const [a, b, c] = screen.getAllByRole("link");
    expect(a?.textContent).toBe("about a Waits for your approval");
    expect(b?.textContent).toBe("about b Answering…");
    expect(b?.getAttribute("aria-current")).toBe("page");
    expect(c?.getAttribute("href")).toBe("/t/c");
    expect(
      within(c as HTMLElement)
        .getByRole("time", { hidden: true })
        .getAttribute("datetime"),
    ).toContain("2026-01-02");
  });

  it("asks for older ones only where there are any", async () => {
    shown({ threads: [thread("a")], more: true });
    await userEvent.click(screen.getByRole("button", { name: "Older conversations" }));
    expect(store.older).toHaveBeenCalledOnce();
    cleanup();
    shown({ threads: [thread("a")] });
    expect(screen.queryByRole("button", { name: "Older conversations" })).toBeNull();
  });

  it("says that it is only remembered", () => {
    shown({ remembered: true });
    expect(screen.getByText(/Showing a saved copy/)).toBeTruthy();
  });

  it("leads an approver, and nobody else, to what waits for approval", async () => {
    shown({ threads: [thread("a")] });
    expect(screen.queryByRole("link", { name: /Approvals/ })).toBeNull();
    cleanup();
    shown({ approvals: 0 });
    expect(screen.getByRole("link", { name: "Approvals none waiting" })).toBeTruthy();
    cleanup();
    shown({ approvals: 2 }, "/approvals");
    const link = screen.getByRole("link", { name: "Approvals 2 waiting" });
    expect(link.getAttribute("aria-current")).toBe("page");
    await userEvent.click(link);
    expect(window.location.pathname).toBe("/approvals");
    window.history.replaceState(null, "", "/");
  });

  it("is asked for when the drawer opens, and goes to the beginning when the open one is taken off", async () => {
    const begin = shown({ threads: [thread("a"), thread("b")] }, "b");
    const opener = screen.getByRole("button", { name: /^Conversations/ });
    await userEvent.click(opener);
    await userEvent.click(opener);
    expect(store.refresh).toHaveBeenCalledOnce();
    await userEvent.click(screen.getByRole("button", { name: "Hide “about a”" }));
    expect(store.forget).toHaveBeenLastCalledWith("a");
    expect(begin).not.toHaveBeenCalled();
    await userEvent.click(screen.getByRole("button", { name: "Hide “about b”" }));
    expect(begin).toHaveBeenCalledOnce();
  });

  it("keeps the focus in the list when a line is hidden", async () => {
    function Shown() {
      const [ids, setIds] = useState(["a", "b"]);
      vi.mocked(store.forget).mockImplementation((id) => setIds(ids.filter((known) => known !== id)));
      const list = { ...NOTHING, threads: ids.map((id) => thread(id)) };
      return <ThreadList list={list} current="none" begin={vi.fn()} />;
    }
    render(<Shown />);
    await userEvent.click(screen.getByRole("button", { name: "Hide “about a”" }));
    await waitFor(() => expect(document.activeElement).toBe(screen.getByRole("link", { name: /about b/ })));
    await userEvent.click(screen.getByRole("button", { name: "Hide “about b”" }));
    await waitFor(() => expect(document.activeElement).toBe(screen.getByRole("button", { name: "New conversation" })));
  });

  it("keeps the keyboard out of what the open drawer covers", async () => {
    vi.spyOn(window, "matchMedia").mockReturnValue({
      ...window.matchMedia("(min-width: 1px)"),
      matches: true,
      addEventListener: vi.fn(),
      removeEventListener: vi.fn(),
    } as never);
    const main = document.body.appendChild(document.createElement("main"));
    main.id = "conversation";
    const covered = main.appendChild(document.createElement("div"));
    shown({});
    const opener = screen.getByRole("button", { name: /^Conversations/ });
    await userEvent.click(opener);
    expect(covered.inert).toBe(true);
    await userEvent.keyboard("{Escape}");
    expect(covered.inert).toBe(false);
    expect(document.activeElement).toBe(opener);
    main.remove();
  });
});

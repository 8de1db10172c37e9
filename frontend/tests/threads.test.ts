import { act, renderHook } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";

const KEY = "concierge.threads.v2";
const load = () => import("../src/threads");

/** What the backend lists; `null` when it does not answer. Cursors are the number of threads that came before. */
let listed: object[] | null;
let pageSize: number;
let asked: string[];

const thread = (id: string, at: number, more: object = {}) => ({
  id,
  title: `title of ${id}`,
  lastActivity: new Date(at).toISOString(),
  waitingForApproval: false,
  running: false,
  ...more,
});

beforeEach(() => {
  vi.resetModules();
  window.localStorage.clear();
  window.sessionStorage.clear();
  listed = [];
  pageSize = 30;
  asked = [];
  vi.stubGlobal("fetch", async (address: string) => {
    asked.push(address);
    if (listed === null) throw new TypeError("Failed to fetch");
    const from = Number(new URL(address, "http://page").searchParams.get("cursor") ?? 0);
    const next = listed.length > from + pageSize ? String(from + pageSize) : null;
    const limits = { turns: 100, runs: 200 };
    return Response.json({ threads: listed.slice(from, from + pageSize), next, limits });
  });
});

async function shown() {
  const threads = await load();
  const { result } = renderHook(() => threads.useThreads());
  return { ...threads, result, ids: () => result.current.threads.map(({ id }) => id) };
}

describe("the list of threads", () => {
  it("is the backend's, with what waits for an approval, and is kept for a time without a network", async () => {
    listed = [thread("b", 2000, { waitingForApproval: true, runs: 7 }), thread("a", 1000, { title: "" })];
    const { refresh, result } = await shown();
    await act(refresh);
    expect(result.current).toEqual({
      threads: [
        { id: "b", title: "title of b", usedAt: 2000, waiting: true, running: false, runs: 7 },
        { id: "a", title: "Conversation", usedAt: 1000, waiting: false, running: false, runs: 0 },
      ],
      more: false,
      remembered: false,
      limits: { turns: 100, runs: 200 },
      approvals: null,
    });
    expect(asked).toEqual(["/copilotkit/threads"]);
    vi.resetModules();
    listed = null;
    const later = await shown();
    await act(later.refresh);
    expect(later.ids()).toEqual(["b", "a"]);
    expect(later.result.current.remembered).toBe(true);
  });

  it("does not show what somebody else left in this browser", async () => {
    window.sessionStorage.setItem(KEY, JSON.stringify([{ id: "theirs", title: "secret", usedAt: Date.now() }]));
    const { refresh, ids } = await shown();
    expect(ids()).toEqual(["theirs"]);
    listed = [thread("mine", 1000)];
    await act(refresh);
    expect(ids()).toEqual(["mine"]);
    expect(window.sessionStorage.getItem(KEY)).not.toContain("secret");
  });

  it("is empty for somebody who is signed out", async () => {
    window.sessionStorage.setItem(KEY, JSON.stringify([{ id: "old", title: "old", usedAt: 1 }]));
    vi.stubGlobal("fetch", async () => Response.json({ error: "unauthenticated" }, { status: 401 }));
    const { refresh, ids } = await shown();
    await act(refresh);
    expect(ids()).toEqual([]);
  });

  it("has a new conversation at once, under its first words, and once", async () => {
    const { refresh, used, result, ids } = await shown();
    act(() => used("new", "  hello\n there ", Date.now()));
    expect(result.current.threads[0]).toMatchObject({ id: "new", title: "hello there", running: true });
    await act(refresh); // the backend does not list it yet
    expect(ids()).toEqual(["new"]);
    listed = [thread("new", Date.now() + 5)];
    await act(refresh);
    expect(result.current.threads).toHaveLength(1);
    expect(result.current.threads[0]).toMatchObject({ title: "title of new", running: false });
    listed = [];
    await act(refresh);
    expect(ids()).toEqual([]);
  });

  it("comes in pages, and older ones stay when the newest are asked for again", async () => {
    pageSize = 2;
    listed = [5, 4, 3, 2, 1].map((n) => thread(`t${n}`, n * 1000));
    const { refresh, older, result, ids } = await shown();
    await act(refresh);
    expect([ids(), result.current.more]).toEqual([["t5", "t4"], true]);
    await act(older);
    await act(older);
    expect([ids(), result.current.more]).toEqual([["t5", "t4", "t3", "t2", "t1"], false]);
    listed = [thread("t6", 6000), ...listed];
    await act(refresh);
    expect([ids(), result.current.more]).toEqual([["t6", "t5", "t4", "t3", "t2", "t1"], false]);
    await act(older);
    expect(asked).toHaveLength(4);
  });

  it("asks once more, not once each, for calls while an answer is on its way", async () => {
    const { refresh } = await shown();
    await act(async () => {
      await Promise.all([refresh(), refresh(), refresh()]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    });
    expect(asked).toHaveLength(2);
  });

  it("leaves out what was taken off it until it is used again", async () => {
    listed = [thread("b", 2000), thread("a", 1000)];
    const { refresh, forget, used, ids } = await shown();
    await act(refresh);
    act(() => forget("a"));
    await act(refresh);
    expect(ids()).toEqual(["b"]);
    act(() => used("a", "again", Date.now() + 1));
    expect(ids()).toEqual(["a", "b"]);
  });

  it("keeps titles in no store that outlives the tab, also those of earlier versions", async () => {
    window.localStorage.setItem(KEY, JSON.stringify([{ id: "old", title: "a secret", usedAt: 1 }]));
    listed = [thread("b", 2000, { title: "another secret" })];
    const { refresh, used } = await shown();
    await act(refresh);
    act(() => used("c", "the third secret", Date.now()));
    expect(JSON.stringify({ ...window.localStorage })).not.toContain("secret");
    expect(window.sessionStorage.getItem(KEY)).toContain("another secret");
  });

  it("knows how much waits for an approver", async () => {
    vi.stubGlobal("fetch", async () => Response.json({ threads: [], next: null, limits: {}, approvals: 3 }));
    const { refresh, result } = await shown();
    await act(refresh);
    expect(result.current.approvals).toBe(3);
  });

  it("keeps at most 50", async () => {
    const { used } = await shown();
    act(() => {
      for (let n = 1; n <= 60; n++) used(`t${n}`, `words ${n}`, n);
    });
    expect(JSON.parse(window.sessionStorage.getItem(KEY) ?? "")).toHaveLength(50);
  });

  it.each(["{", "null", '{"a":1}', '[null, 3, {"id":1}]'])("survives a broken store: %s", async (stored) => {
    window.sessionStorage.setItem(KEY, stored);
    expect((await shown()).ids()).toEqual([]);
  });

  it.each([[{ threads: 7 }], [[]], ["x"], [{ threads: [{ id: 1 }, null, { id: "x", lastActivity: "never" }] }]])(
    "survives a broken answer: %j",
    async (body) => {
      vi.stubGlobal("fetch", async () => Response.json(body));
      const { refresh, ids } = await shown();
      await act(refresh);
      expect(ids()).toEqual([]);
    },
  );

  it("goes on in memory when the store is full", async () => {
    const { used, ids } = await shown();
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    act(() => used("t", "hello", 1));
    expect(ids()).toEqual(["t"]);
  });
});

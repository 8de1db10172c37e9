import { act, renderHook } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";

const KEY = "concierge.threads.v1";
const load = () => import("../src/threads");

beforeEach(() => {
  vi.resetModules();
  window.localStorage.clear();
});

describe("the list of threads", () => {
  it("is kept, newest first, at most 50", async () => {
    const { used, useThreads } = await load();
    const { result } = renderHook(() => useThreads());
    act(() => {
      for (let n = 1; n <= 60; n++) used(`t${n}`, `words ${n}`, n);
      used("t30", "words 30", 100);
    });
    expect(result.current).toHaveLength(50);
    expect(result.current[0]).toMatchObject({ id: "t30", title: "words 30" });
    expect(JSON.parse(window.localStorage.getItem(KEY) ?? "")).toEqual(result.current);
  });

  it("notes the same block once", async () => {
    const { blocked, used, useThreads } = await load();
    const { result } = renderHook(() => useThreads());
    act(() => {
      used("t", "hello", 1);
      blocked("t", { turn: 1, rule: "off_topic", stage: "input" });
      blocked("t", { turn: 1, rule: "off_topic", stage: "input" });
    });
    expect(result.current[0]?.blocks).toHaveLength(1);
  });

  it.each(["{", "null", '{"a":1}', '[null, 3, {"id":1}]'])("survives a broken store: %s", async (stored) => {
    window.localStorage.setItem(KEY, stored);
    const { useThreads } = await load();
    expect(renderHook(() => useThreads()).result.current).toEqual([]);
  });

  it("goes on in memory when the store is full", async () => {
    const { used, useThreads } = await load();
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    const { result } = renderHook(() => useThreads());
    act(() => used("t", "hello", 1));
    expect(result.current[0]?.title).toBe("hello");
  });
});

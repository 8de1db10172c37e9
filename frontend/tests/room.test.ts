import { describe, expect, it } from "vitest";
import { limitsOf, NO_LIMITS, roomNotice, roomOf } from "../src/room";

describe("roomOf", () => {
  it("is what the tighter limit leaves", () => {
    expect(roomOf({ turns: 100, runs: 200 }, 91, 120)).toBe(9);
    expect(roomOf({ turns: 100, runs: 200 }, 91, 196)).toBe(4);
    expect(roomOf({ turns: null, runs: 200 }, 91, 0)).toBe(109);
  });

  it("is never below none, and unknown without limits", () => {
    expect(roomOf({ turns: 100, runs: 200 }, 104, 104)).toBe(0);
    expect(roomOf(NO_LIMITS, 500, 500)).toBeNull();
  });
});

describe("roomNotice", () => {
  it.each([
    [null, ""],
    [11, ""],
    [10, "This conversation can take 10 more messages."],
    [1, "This conversation can take 1 more message."],
    [0, "This conversation has reached its limit. It stays readable; go on in a new one."],
  ])("for %j", (left, notice) => {
    expect(roomNotice(left)).toBe(notice);
  });
});

describe("limitsOf", () => {
  it("reads what the backend says and trusts no shape", () => {
    expect(limitsOf({ turns: 100, runs: 200 })).toEqual({ turns: 100, runs: 200 });
    for (const odd of [null, undefined, 7, [], {}, { turns: "many", runs: -1 }, { turns: 1.5 }]) {
      expect(limitsOf(odd)).toEqual(NO_LIMITS);
    }
  });
});

import { describe, expect, it } from "vitest";
import { namesNoThread, pathOf, threadOf } from "../src/route";

describe("threadOf", () => {
  it.each(["a", "0f6c1a52-1c1e", "with space", "ünï/slash%"])("finds again what pathOf wrote: %s", (thread) => {
    expect(threadOf(pathOf(thread))).toBe(thread);
  });

  it.each(["/", "/t/", "/t", "/x/abc", "/t/a/b", "/t/%", "/t/%00", `/t/${"a".repeat(129)}`])(
    "finds none in %s",
    (path) => {
      expect(threadOf(path)).toBeNull();
    },
  );
});

describe("namesNoThread", () => {
  it.each(["/t", "/t/", "/t/a/b", "/t/%", "/t/%00", `/t/${"a".repeat(129)}`])("is so for %s", (path) => {
    expect(namesNoThread(path)).toBe(true);
  });

  it.each(["/", "/index.html", "/t/a", "/terms"])("is not so for %s", (path) => {
    expect(namesNoThread(path)).toBe(false);
  });
});

import type { Message } from "@copilotkit/react-core/v2";
import { describe, expect, it } from "vitest";
import { newest } from "../src/newest";

const user = (id: string): Message => ({ id, role: "user", content: id });
const agent = (id: string): Message => ({ id, role: "assistant", content: id });

describe("newest", () => {
  it("is the message that was just written", () => {
    expect(newest([user("a"), agent("b"), user("c")]).map(({ id }) => id)).toEqual(["c"]);
    expect(newest([user("stopped before an answer"), user("c")]).map(({ id }) => id)).toEqual(["c"]);
  });

  it("is nothing when the answer to an approval is what goes out", () => {
    expect(newest([user("a"), agent("b")])).toEqual([]);
    expect(newest([])).toEqual([]);
  });
});

import type { Message } from "@copilotkit/react-core/v2";
import { describe, expect, it } from "vitest";
import { arrived, withoutUnheard } from "../src/sent";

const user = (content: string, id = content): Message => ({ id, role: "user", content });
const agent = (content: string): Message => ({ id: `a-${content}`, role: "assistant", content });

describe("words that were sent", () => {
  it("have arrived when the thread holds them after what was there before", () => {
    const thread = [user("one"), agent("1"), user("two")];
    expect(arrived({ words: "two", before: 1 }, thread)).toBe(true);
    expect(arrived({ words: "three", before: 1 }, thread)).toBe(false);
  });

  it("have not arrived because another window said something else, or the same words were said before", () => {
    expect(arrived({ words: "mine", before: 1 }, [user("one"), user("theirs"), agent("t")])).toBe(false);
    expect(arrived({ words: "one", before: 1 }, [user("one"), agent("1")])).toBe(false);
  });

  it("are taken out of the conversation when they have not, and nothing else is", () => {
    const messages = [user("one"), agent("1"), user("one", "again"), agent("x")];
    expect(withoutUnheard({ words: "one", before: 1 }, messages).map(({ id }) => id)).toEqual(["one", "a-1", "a-x"]);
    expect(withoutUnheard({ words: "two", before: 1 }, messages)).toEqual(messages);
  });
});

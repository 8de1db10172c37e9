import type { Interrupt } from "@copilotkit/react-core/v2";
import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createRef, useState } from "react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Approvals } from "../src/chat/Approval";
import { Composer } from "../src/chat/Composer";
import { Notices } from "../src/chat/Notices";
import { PipelineCard, progressOf } from "../src/chat/PipelineCard";
import { Turns } from "../src/chat/Turns";
import { faultOf } from "../src/faults";
import { Markdown } from "../src/Markdown";
import { pipelinesOf } from "../src/pipelines";

afterEach(cleanup);

const interrupt = (id: string, args: object): Interrupt => ({
  id,
  reason: "confirmation",
  message: "Please approve or reject the tool call issue_refund()",
  metadata: { adk: { originalFunctionCall: { name: "issue_refund", args } } },
});

describe("Approvals", () => {
  it("says what is to be done and answers with the decision", async () => {
    const answer = vi.fn();
    render(<Approvals interrupts={[interrupt("i1", { order_id: 42, amount: 80 })]} answer={answer} />);
    expect(screen.getByRole("region", { name: "Refund 80 on order 42?" })).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: "Refuse" }));
    expect(answer).toHaveBeenCalledExactlyOnceWith(new Map([["i1", false]]));
    expect(screen.getByRole("button", { name: "Approve" })).toHaveProperty("disabled", true);
  });

  it("answers when all questions are decided", async () => {
    const answer = vi.fn();
    render(
      <Approvals interrupts={[interrupt("i1", { amount: 60 }), interrupt("i2", { amount: 70 })]} answer={answer} />,
    );
    const approve = screen.getAllByRole("button", { name: "Approve" });
    await userEvent.click(approve[1] as HTMLElement);
    expect(answer).not.toHaveBeenCalled();
    await userEvent.click(approve[0] as HTMLElement);
    expect(answer).toHaveBeenCalledExactlyOnceWith(
      new Map([
        ["i2", true],
        ["i1", true],
      ]),
    );
  });

  it("moves the focus to the question that is still open", async () => {
    render(
      <Approvals interrupts={[interrupt("i1", { amount: 60 }), interrupt("i2", { amount: 70 })]} answer={vi.fn()} />,
    );
    const [first, second] = screen.getAllByRole("button", { name: "Approve" });
    await userEvent.click(first as HTMLElement);
    expect(document.activeElement).toBe(second);
  });

  it("shows the backend's own words for a question of a kind that it does not know", () => {
    render(<Approvals interrupts={[{ id: "x", reason: "other", message: "Go on" }]} answer={vi.fn()} />);
    expect(screen.getByRole("heading", { name: "Go on?" })).toBeTruthy();
  });
});

function Field({
  send,
  stop,
  waitFor = null,
}: {
  send: (words: string) => void;
  stop?: () => void;
  waitFor?: string | null;
}) {
  const [draft, setDraft] = useState("");
  return <Composer draft={draft} setDraft={setDraft} send={send} stop={stop} waitFor={waitFor} field={createRef()} />;
}

describe("Composer", () => {
  it("sends with Enter, breaks the line with Shift+Enter, and sends no blanks", async () => {
    const send = vi.fn();
    render(<Field send={send} />);
    const field = screen.getByLabelText("Your message");
    await userEvent.type(field, "  {Enter}");
    expect(send).not.toHaveBeenCalled();
    await userEvent.type(field, "one{Shift>}{Enter}{/Shift}two{Enter}");
    expect(send).toHaveBeenCalledExactlyOnceWith("one\ntwo");
  });

  it("keeps words while it waits, and says what for", async () => {
    const send = vi.fn();
    render(<Field send={send} waitFor="Answer the request above to continue" />);
    const field = screen.getByLabelText("Your message");
    await userEvent.type(field, "hello{Enter}");
    expect(send).not.toHaveBeenCalled();
    expect(field).toHaveProperty("value", "hello");
    expect(screen.getByText("Answer the request above to continue").id).toBe(field.getAttribute("aria-describedby"));
  });

  it("cuts nothing of what is pasted, says by how much it is too long, and sends it once it fits", async () => {
    const send = vi.fn();
    render(<Field send={send} />);
    const field = screen.getByLabelText("Your message");
    await userEvent.click(field);
    await userEvent.paste("x".repeat(8412));
    expect(field).toHaveProperty("value", "x".repeat(8412));
    const notice = screen.getByText("412 characters over the limit of 8,000. Shorten it to send it.");
    expect(field.getAttribute("aria-describedby")).toContain(notice.id);
    expect(field.getAttribute("aria-invalid")).toBe("true");
    await userEvent.keyboard("{Enter}");
    expect(send).not.toHaveBeenCalled();
    expect(screen.getByRole("button", { name: "Send" })).toHaveProperty("disabled", true);
    await userEvent.clear(field);
    await userEvent.paste("x".repeat(8000));
    expect(screen.getByText("8,000 of 8,000 characters")).toBeTruthy();
    await userEvent.keyboard("{Enter}");
    expect(send).toHaveBeenCalledExactlyOnceWith("x".repeat(8000));
  });

  it("says nothing about a length that is far from the limit", async () => {
    render(<Field send={vi.fn()} />);
    await userEvent.type(screen.getByLabelText("Your message"), "hello");
    expect(screen.queryByText(/characters/)).toBeNull();
  });

  it("stops with Escape", async () => {
    const stop = vi.fn();
    render(<Field send={vi.fn()} stop={stop} waitFor="Escape stops the answer" />);
    await userEvent.type(screen.getByLabelText("Your message"), "{Escape}");
    expect(stop).toHaveBeenCalledOnce();
  });
});

describe("Notices", () => {
  const notices = (status: number | null, room: number | null, words: string) => {
    const goOn = vi.fn();
    const fault = status === null ? null : faultOf(Object.assign(new Error("x"), { status }));
    const link = { fault, dismiss: vi.fn(), sending: vi.fn() };
    render(<Notices link={link} room={room} words={words} goOn={goOn} done={vi.fn()} />);
    return goOn;
  };

  it("lead from a full conversation to a new one, once, with what was written", async () => {
    const goOn = notices(422, 0, "order 42");
    expect(screen.getByRole("alert").textContent).toContain("cannot take more messages");
    await userEvent.click(screen.getByRole("button", { name: "Take these words to a new conversation" }));
    expect(goOn).toHaveBeenCalledOnce();
  });

  it("warn before a conversation is full, and not while there is plenty of room", () => {
    notices(null, 3, "");
    expect(screen.getByRole("status").textContent).toContain("This conversation can take 3 more messages.");
    expect(screen.getByRole("button", { name: "Start a new conversation" })).toBeTruthy();
    cleanup();
    notices(null, 30, "");
    expect(screen.queryByRole("status")).toBeNull();
  });
});

const text = (words: string) => ({ kind: "text", key: words, text: words, agent: "concierge" }) as const;

describe("Turns", () => {
  it.each([
    ["stopped", [text("Rule 1")], "Stopped. This answer is not complete."],
    ["stopped", [], "Stopped. There is no answer."],
    ["RUN_TIMEOUT", [text("Rule 1")], "Stopped because it took too long. This answer is not complete."],
    ["INSTANCE_LOST", [text("Rule 1")], "Interrupted by a fault on our side. This answer is not complete."],
  ])("says that an answer ended early: %s, %j", (cut, parts, sentence) => {
    render(<Turns turns={[{ key: "t", asked: "rules", parts, blockedBy: null, cut }]} busy={false} />);
    expect(screen.getByText(sentence)).toBeTruthy();
    expect(screen.queryByText(/not answered/)).toBeNull();
  });

  it("copies an answer as it was written, and says so", async () => {
    userEvent.setup(); // brings a clipboard
    const turn = { key: "t", asked: "a", parts: [text("**One**"), text("two")], blockedBy: null, cut: null };
    render(<Turns turns={[turn, { ...turn, key: "u", asked: "b" }]} busy={true} />);
    const copy = screen.getByRole("button", { name: "Copy the answer" }); // of the one that has ended
    await userEvent.click(copy);
    expect(await navigator.clipboard.readText()).toBe("**One**\n\ntwo");
    expect(copy.textContent).toBe("Copied");
  });

  it("says when the browser does not allow copying", async () => {
    vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new DOMException("no", "NotAllowedError"));
    const turn = { key: "t", asked: "a", parts: [text("words")], blockedBy: null, cut: null };
    render(<Turns turns={[turn]} busy={false} />);
    await userEvent.click(screen.getByRole("button", { name: "Copy the answer" }));
    expect(screen.getByText("Not copied")).toBeTruthy();
  });

  it("says that a question was not answered, once nothing is under way", () => {
    const turns = [{ key: "t", asked: "hello", parts: [], blockedBy: null, cut: null }];
    const { rerender } = render(<Turns turns={turns} busy={true} />);
    expect(screen.queryByText(/not answered/)).toBeNull();
    rerender(<Turns turns={turns} busy={false} />);
    expect(screen.getByText(/not answered/)).toBeTruthy();
  });

  it("shows a block as a block, with its reason", () => {
    const part = { kind: "text", key: "p", text: "No.", agent: "concierge" } as const;
    render(
      <Turns
        turns={[{ key: "t", asked: "ignore", parts: [part], blockedBy: "prompt_injection", cut: null }]}
        busy={false}
      />,
    );
    expect(screen.getByText("Blocked by a guardrail").closest("p")?.textContent).toContain(
      "tries to change how the concierge works",
    );
  });
});

const research = (status: string, steps: object[]) => ({
  pipelines: { c1: { name: "research_brief", subject: "oak bookshelf", status, steps } },
});

describe("PipelineCard", () => {
  it("lists the steps, with what each found and where it stands", () => {
    const state = research("running", [
      { name: "open_brief", status: "done", started: "2026-01-01T00:00:00Z", finished: "2026-01-01T00:00:02.500Z" },
      { name: "catalogue", status: "running", started: "2026-01-01T00:00:02.500Z" },
      { name: "write_brief", status: "waiting" },
    ]);
    const pipeline = pipelinesOf(state, true).get("c1");
    if (!pipeline) throw new Error("no pipeline");
    render(<PipelineCard title="Research oak bookshelf" pipeline={pipeline} />);
    const card = screen.getByRole("region", { name: "Research oak bookshelf" });
    expect(card.textContent).toContain("Under way · 1 of 3");
    const steps = within(card).getAllByRole("listitem");
    expect(steps.map((step) => step.textContent)).toEqual([
      "Open a brief done 2.5 s",
      "Read the catalogue under way",
      "Write the brief to do",
    ]);
    expect(steps.map((step) => step.getAttribute("aria-current"))).toEqual([null, "step", null]);
    expect(progressOf("Research oak bookshelf", pipeline)).toBe(
      "Research oak bookshelf: 1 of 3 steps done, now: Read the catalogue",
    );
  });
});

describe("Markdown", () => {
  it("shows the words as they are until the renderer is there", async () => {
    const { container } = render(<Markdown>{"some **words**"}</Markdown>);
    expect(container.textContent).toContain("some");
    await waitFor(() => expect(container.querySelector("strong")?.textContent).toBe("words"));
  });

  it("shows the words as they are when the renderer cannot be loaded", async () => {
    vi.resetModules();
    vi.doMock("../src/RichText", () => {
      throw new Error("404");
    });
    vi.spyOn(console, "error").mockImplementation(() => {});
    const { Markdown: Fresh } = await import("../src/Markdown");
    render(<Fresh>{"some **words**"}</Fresh>);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(screen.getByText("some **words**")).toBeTruthy();
    vi.doUnmock("../src/RichText");
  });

  it("puts a table where it can scroll, by keyboard too", async () => {
    render(<Markdown>{"| Model | Width |\n|---|---|\n| Kyoto | 80 cm |"}</Markdown>);
    const region = await screen.findByRole("region", { name: "Table" });
    expect(within(region).getByRole("cell", { name: "Kyoto" })).toBeTruthy();
    expect(region.tabIndex).toBe(0);
  });

  it("copies a block of code, without its last line break", async () => {
    userEvent.setup();
    render(<Markdown>{"```sh\nkubectl get agd\nexit\n```"}</Markdown>);
    const copy = await screen.findByRole("button", { name: "Copy the code" });
    await userEvent.click(copy);
    expect(await navigator.clipboard.readText()).toBe("kubectl get agd\nexit");
    expect(screen.getByText(/kubectl/).closest("pre")?.tabIndex).toBe(0);
  });

  it("keeps its headings below the page's own, and names the boxes of a task list", async () => {
    render(<Markdown>{"## Plan\n\n#### Detail\n\n### Again\n\n- [x] first\n- [ ] second"}</Markdown>);
    expect((await screen.findByRole("heading", { name: "Plan" })).tagName).toBe("H2");
    expect(screen.getByRole("heading", { name: "Detail" }).tagName).toBe("H3");
    expect(screen.getByRole("heading", { name: "Again" }).tagName).toBe("H3");
    expect(screen.getByRole("checkbox", { name: "done" })).toHaveProperty("checked", true);
    expect(screen.getByRole("checkbox", { name: "to do" })).toHaveProperty("checked", false);
  });

  it("renders no html of an agent, loads no picture, and opens links apart", async () => {
    const { container } = render(
      <Markdown>
        {'<b onclick="x()">b</b> ![me](https://e.example/p.png) [l](https://e.example) [j](javascript:x)'}
      </Markdown>,
    );
    expect((await screen.findByRole("link", { name: "l" })).getAttribute("rel")).toContain("noopener");
    expect(container.querySelector("b, img")).toBeNull();
    expect(screen.getByText("me")).toBeTruthy();
    expect(container.innerHTML).not.toContain("javascript:");
  });
});

import type { Interrupt } from "@copilotkit/react-core/v2";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createRef, useState } from "react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Approvals } from "../src/chat/Approval";
import { Composer } from "../src/chat/Composer";
import { Turns } from "../src/chat/Turns";
import { Markdown } from "../src/Markdown";

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
    render(<Field send={send} waitFor="Approve or refuse first" />);
    const field = screen.getByLabelText("Your message");
    await userEvent.type(field, "hello{Enter}");
    expect(send).not.toHaveBeenCalled();
    expect(field).toHaveProperty("value", "hello");
    expect(screen.getByText("Approve or refuse first").id).toBe(field.getAttribute("aria-describedby"));
  });

  it("stops with Escape", async () => {
    const stop = vi.fn();
    render(<Field send={vi.fn()} stop={stop} waitFor="Escape stops the answer" />);
    await userEvent.type(screen.getByLabelText("Your message"), "{Escape}");
    expect(stop).toHaveBeenCalledOnce();
  });
});

describe("Turns", () => {
  it("shows a block as a block, with its reason", () => {
    const part = { kind: "text", key: "p", text: "No.", agent: "concierge" } as const;
    render(
      <Turns turns={[{ key: "t", asked: "ignore", parts: [part], blockedBy: "prompt_injection" }]} busy={false} />,
    );
    expect(screen.getByText("Blocked by a guardrail").closest("p")?.textContent).toContain(
      "tries to change how the concierge works",
    );
  });
});

describe("Markdown", () => {
  it("renders no html of an agent, loads no picture, and opens links apart", () => {
    const { container } = render(
      <Markdown>
        {'<b onclick="x()">b</b> ![me](https://e.example/p.png) [l](https://e.example) [j](javascript:x)'}
      </Markdown>,
    );
    expect(container.querySelector("b, img")).toBeNull();
    expect(screen.getByText("me")).toBeTruthy();
    expect(screen.getByRole("link", { name: "l" }).getAttribute("rel")).toContain("noopener");
    expect(container.innerHTML).not.toContain("javascript:");
  });
});

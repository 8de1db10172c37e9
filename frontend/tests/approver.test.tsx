import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Approver } from "../src/Approver";
import { waitingApprovals } from "../src/approvals";

vi.mock("../src/threads", () => ({ refresh: vi.fn(async () => {}) }));

const question = (call: string, amount: number, more: object = {}) => ({
  user: "ann",
  thread: "t1",
  call,
  tool: "issue_refund",
  arguments: { order_id: 42, amount },
  requestedAt: "2026-01-02T12:00:00+00:00",
  ...more,
});

let open: unknown[] = [];
let answers: { status: number; body?: unknown }[] = [];
const posted: unknown[] = [];
const json = (status: number, body: unknown = {}) => new Response(JSON.stringify(body), { status });

beforeEach(() => {
  open = [question("a", 80), question("b", 90)];
  answers = [];
  posted.length = 0;
  vi.stubGlobal(
    "fetch",
    vi.fn(async (url: string, init?: RequestInit) => {
      expect(url).toBe("/api/approvals");
      if (init?.method === "POST") posted.push(JSON.parse(String(init.body)));
      const next = answers.shift();
      if (next) return json(next.status, next.body);
      return json(200, init?.method === "POST" ? { status: "granted" } : { approvals: open });
    }),
  );
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const card = (name: RegExp) => screen.findByRole("form", { name });

describe("Approver", () => {
  it("lists what waits, and says who asked for what", async () => {
    render(<Approver />);
    const first = await card(/Refund 80 on order 42/);
    expect(first.textContent).toContain("Asked by ann");
    expect(within(first).getByText("amount").nextSibling?.textContent).toBe("80");
    expect(screen.getAllByRole("listitem")).toHaveLength(2);
    expect(document.activeElement).toBe(screen.getByRole("heading", { level: 2 }));
  });

  it("sends a decision with its reason, and the next request gets the focus", async () => {
    render(<Approver />);
    const first = await card(/Refund 80/);
    await userEvent.type(within(first).getByRole("textbox"), "  is  broken {Enter}");
    expect(posted).toEqual([]);
    await userEvent.click(within(first).getByRole("button", { name: "Deny" }));
    await waitFor(() => expect(screen.getAllByRole("listitem")).toHaveLength(1));
    expect(posted).toEqual([{ user: "ann", thread: "t1", call: "a", confirmed: false, reason: "is broken" }]);
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Refund 90 on order 42?"));
    await userEvent.click(screen.getByRole("button", { name: "Approve" }));
    await screen.findByText(/Nothing waits for you/);
    expect(posted[1]).toEqual({ user: "ann", thread: "t1", call: "b", confirmed: true });
    await waitFor(() => expect(document.activeElement).toBe(screen.getByRole("heading", { level: 2 })));
  });

  it.each([
    [404, "no longer open"],
    [403, "may not answer"],
    [503, "try again"],
  ])("keeps a request whose answer is refused with %d, and says why", async (status, words) => {
    render(<Approver />);
    const first = await card(/Refund 80/);
    answers = [{ status }];
    await userEvent.click(within(first).getByRole("button", { name: "Approve" }));
    expect((await within(first).findByRole("alert")).textContent).toContain(words);
    expect((within(first).getByRole("button", { name: "Approve" }) as HTMLButtonElement).disabled).toBe(false);
  });

  it.each([
    [403, /not an approver/],
    [503, /cannot be loaded/],
  ])("says why nothing is shown: %d", async (status, words) => {
    answers = [{ status }];
    render(<Approver />);
    expect(await screen.findByText(words)).toBeTruthy();
  });

  it("leaves out what is no request", async () => {
    open = [null, 7, question("a", 80, { user: 7 }), question("c", 5, { arguments: null, requestedAt: "x" })];
    const found = await waitingApprovals();
    expect(found).toEqual([{ ...question("c", 5), arguments: {}, requestedAt: 0 }]);
  });
});

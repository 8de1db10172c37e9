import { describe, expect, it } from "vitest";
import { pipelinesOf } from "../src/pipelines";
import { withBlock } from "../src/turns";

const state = (status: string, ...steps: object[]) => ({ pipelines: { c: { name: "p", status, steps } } });
const statuses = (given: unknown, live: boolean) => {
  const pipeline = pipelinesOf(given, live).get("c");
  return [pipeline?.status, ...(pipeline?.steps.map((step) => step.status) ?? [])];
};

describe("pipelinesOf", () => {
  const steps = [
    { name: "a", status: "done" },
    { name: "b", status: "running" },
    { name: "c", status: "waiting" },
  ];

  it("says what is under way while an answer is", () => {
    expect(statuses(state("running", ...steps), true)).toEqual(["running", "done", "running", "waiting"]);
  });

  it("calls stopped what was under way when the answer ended", () => {
    expect(statuses(state("running", ...steps), false)).toEqual(["stopped", "done", "stopped", "waiting"]);
  });

  it("leaves what has ended as it is", () => {
    expect(statuses(state("failed", { name: "a", status: "failed" }), false)).toEqual(["failed", "failed"]);
    expect(statuses(state("done", { name: "a", status: "done" }), true)).toEqual(["done", "done"]);
  });

  it("counts seconds between two moments, and never below none", () => {
    const took = (started: string, finished?: string) =>
      pipelinesOf(state("done", { name: "a", status: "done", started, finished }), false).get("c")?.steps[0]?.seconds;
    expect(took("2026-01-01T00:00:00.000+00:00", "2026-01-01T00:00:01.250+00:00")).toBe(1.25);
    expect(took("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z")).toBe(0);
    expect(took("2026-01-01T00:00:01Z")).toBeNull();
    expect(took("yesterday", "today")).toBeNull();
  });

  it.each([
    null,
    7,
    "x",
    [],
    {},
    { pipelines: null },
    { pipelines: [1] },
    { pipelines: { c: null } },
    { pipelines: { c: { name: 1, steps: [] } } },
    { pipelines: { c: { name: "p", steps: {} } } },
  ])("finds none in %j", (given) => {
    expect(pipelinesOf(given, true).size).toBe(0);
  });

  it("leaves out steps that are none", () => {
    expect(pipelinesOf(state("odd", null as never, { status: "done" }, { name: "a" }), true).get("c")).toEqual({
      name: "p",
      subject: "",
      status: "running",
      steps: [{ name: "a", status: "waiting", detail: "", seconds: null }],
    });
  });
});

describe("withBlock", () => {
  it("keeps a block once, under the message that the backend names", () => {
    const told = { rule: "off_topic", stage: "input", turn: 2 };
    const once = withBlock([], told, 5);
    expect(once).toEqual([{ turn: 2, rule: "off_topic", stage: "input" }]);
    expect(withBlock(once, { ...told, agent: "concierge" }, 9)).toBe(once);
  });

  it("counts the messages itself when the backend does not", () => {
    expect(withBlock([], { rule: "r", stage: "input" }, 3)).toEqual([{ turn: 3, rule: "r", stage: "input" }]);
  });

  it.each([null, {}, { rule: 1, stage: "input" }, { rule: "r" }, { rule: "r", stage: "s", turn: "x" }])(
    "leaves out %j",
    (value) => {
      expect(withBlock([], value, 1)).toEqual([]);
    },
  );
});

import { describe, expect, it } from "vitest";
import { faultOf } from "../src/faults";

const refusal = (status: number, error?: string) =>
  Object.assign(new Error(`HTTP ${status}`), { status, payload: { error } });

describe("faultOf", () => {
  it.each([
    ["a lost network", new TypeError("Failed to fetch"), "lost"],
    ["a gateway in between", refusal(502), "lost"],
    ["an answer in another window", refusal(409, "thread_busy"), "lost"],
    ["a replaced instance", Object.assign(new Error("stopping"), { code: "INSTANCE_STOPPING" }), "lost"],
    ["a token that ended", Object.assign(new Error("x"), { code: "TOKEN_EXPIRED" }), "lost"],
    ["an approval that is open", Object.assign(new Error("x"), { code: "INTERRUPT_RESUME_REQUIRED" }), "lost"],
    ["an approval that was answered", Object.assign(new Error("x"), { code: "UNKNOWN_INTERRUPT" }), "lost"],
    ["an instance that died", Object.assign(new Error("x"), { code: "INSTANCE_LOST" }), "failed"],
    ["a full instance", refusal(503, "instance_full"), "refused"],
    ["no sign-in", refusal(401), "refused"],
    ["a failed agent", Object.assign(new Error("x"), { code: "AGENT_ERROR" }), "failed"],
    ["a code that is new to this page", Object.assign(new Error("x"), { code: "BRAND_NEW" }), "failed"],
    ["a server error", refusal(500), "failed"],
    ["nothing at all", undefined, "lost"],
  ])("%s", (_, error, kind) => {
    expect(faultOf(error).kind).toBe(kind);
  });

  it("prefers what the backend says to the status", () => {
    expect(faultOf(refusal(409, "run_exists")).sentence).toContain("sent before");
  });

  it("never shows a code, a status or the error's own text", () => {
    for (const error of [refusal(418, "toString"), new Error("ECONNRESET"), refusal(500, "stack at line 3")]) {
      expect(faultOf(error).sentence).not.toMatch(/\d{3}|ECONN|stack|undefined/);
    }
  });
});

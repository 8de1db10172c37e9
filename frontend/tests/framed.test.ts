import { describe, expect, it } from "vitest";
import { isFramed, refuseFrame } from "../src/framed";

describe("a page in a frame", () => {
  it("knows its own window", () => expect(isFramed(window)).toBe(false));

  it("notices a frame, also of a window that may not be asked", () => {
    const self = {} as Window;
    expect(isFramed({ self, top: {} as Window } as unknown as Window)).toBe(true);
    const guarded = {
      self,
      get top(): Window {
        throw new DOMException("blocked", "SecurityError");
      },
    };
    expect(isFramed(guarded as unknown as Window)).toBe(true);
  });

  it("offers nothing but a window of its own", () => {
    const root = document.createElement("div");
    root.innerHTML = "<button>Approve</button>";
    refuseFrame(root);
    expect(root.querySelectorAll("button")).toHaveLength(0);
    expect(root.querySelector("a")?.rel).toBe("noopener");
  });
});

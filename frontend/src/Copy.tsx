/** A button that copies text, and says so to eyes and ears. */
import { useEffect, useState } from "react";
import { announce } from "./announce";

const SHOWN = 2000; // milliseconds that the button says what came of it

type State = "ready" | "copied" | "failed";

const WORDS: Readonly<Record<State, string>> = { ready: "Copy", copied: "Copied", failed: "Not copied" };

async function put(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text); // absent on a page without https
    return true;
  } catch {
    return false;
  }
}

/** `what` completes "Copy …" for those who cannot see what the button stands beside. */
export function Copy({ text, what }: { text: () => string; what: string }) {
  const [state, setState] = useState<State>("ready");
  useEffect(() => {
    if (state === "ready") return;
    const timer = setTimeout(() => setState("ready"), SHOWN);
    return () => clearTimeout(timer);
  }, [state]);
  const copy = async () => {
    const done = await put(text());
    setState(done ? "copied" : "failed");
    announce(done ? `Copied ${what}` : `The browser did not allow copying. Select ${what} and copy it by hand.`);
  };
  return (
    <button type="button" className="copy" data-state={state} aria-label={`Copy ${what}`} onClick={() => void copy()}>
      {WORDS[state]}
    </button>
  );
}

/** Where the user writes. Enter sends, Shift+Enter breaks the line, Escape stops the answer. */
import { type FormEvent, type KeyboardEvent, type RefObject, useId } from "react";

const MOST_CHARACTERS = 8000;

interface ComposerProps {
  readonly draft: string;
  readonly setDraft: (words: string) => void;
  readonly send: (words: string) => void;
  readonly stop: (() => void) | undefined;
  /** Why nothing can be sent now; null if it can. Writing is always possible. */
  readonly waitFor: string | null;
  readonly field: RefObject<HTMLTextAreaElement | null>;
}

export function Composer({ draft, setDraft, send, stop, waitFor, field }: ComposerProps) {
  const hint = useId();
  const ready = waitFor === null && draft.trim() !== "";
  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    if (ready) send(draft.trim());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && stop) {
      event.preventDefault();
      stop();
    }
  };
  return (
    <form className="composer" onSubmit={submit}>
      <label>
        <span className="unseen">Your message</span>
        <textarea
          ref={field}
          rows={1}
          value={draft}
          maxLength={MOST_CHARACTERS}
          placeholder="Ask the concierge"
          aria-describedby={hint}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={onKeyDown}
        />
      </label>
      {stop ? (
        <button type="button" className="stop" onClick={stop}>
          Stop
        </button>
      ) : (
        <button type="submit" className="primary" disabled={!ready}>
          Send
        </button>
      )}
      <p id={hint} className="hint" data-waits={waitFor !== null}>
        {waitFor ?? "Enter sends, Shift+Enter starts a new line"}
      </p>
    </form>
  );
}

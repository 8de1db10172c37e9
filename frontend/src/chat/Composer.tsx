/** Where the user writes. Enter sends, Shift+Enter breaks the line, Escape stops the answer. */
import { type FormEvent, type KeyboardEvent, type RefObject, useEffect, useId } from "react";
import { announce } from "../announce";

const MOST_CHARACTERS = 8000;
const COUNTED_FROM = 7000;
const figure = new Intl.NumberFormat("en");

interface ComposerProps {
  readonly draft: string;
  readonly setDraft: (words: string) => void;
  readonly send: (words: string) => void;
  readonly stop: (() => void) | undefined;
  /** Why nothing can be sent now; null if it can. Writing is always possible. */
  readonly waitFor: string | null;
  readonly field: RefObject<HTMLTextAreaElement | null>;
}

/** What is said about the length of a message: nothing while it is far from the limit. Nothing is ever cut. */
export function lengthNotice(characters: number): string {
  const over = characters - MOST_CHARACTERS;
  const limit = figure.format(MOST_CHARACTERS);
  if (over > 0)
    return `${figure.format(over)} ${over === 1 ? "character" : "characters"} over the limit of ${limit}. Shorten it to send it.`;
  return characters >= COUNTED_FROM ? `${figure.format(characters)} of ${limit} characters` : "";
}

export function Composer({ draft, setDraft, send, stop, waitFor, field }: ComposerProps) {
  const hint = useId();
  const size = useId();
  const words = draft.trim();
  const tooLong = words.length > MOST_CHARACTERS;
  const length = lengthNotice(words.length);
  const ready = waitFor === null && words !== "" && !tooLong;
  // biome-ignore lint/correctness/useExhaustiveDependencies: said once when the limit is passed, not at each letter
  useEffect(() => {
    if (tooLong) announce(length);
  }, [tooLong]);
  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    if (ready) send(words);
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
          placeholder="Ask the concierge"
          aria-describedby={length ? `${hint} ${size}` : hint}
          aria-invalid={tooLong || undefined}
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
      <p className="under">
        <span id={hint} className="hint" data-waits={waitFor !== null}>
          {waitFor ?? (tooLong ? "" : "Enter sends, Shift+Enter starts a new line")}
        </span>
        {length && (
          <span id={size} className="length" data-over={tooLong}>
            {length}
          </span>
        )}
      </p>
    </form>
  );
}

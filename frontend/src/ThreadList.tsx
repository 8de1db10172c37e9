/** The list of conversations: a column on a wide screen, a drawer on a phone. */
import { type MouseEvent, useEffect, useRef, useState } from "react";
import { go, pathOf } from "./route";
import { forget, type ThreadNote } from "./threads";

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function whenOf(time: number): string {
  const then = new Date(time);
  return then.toDateString() === new Date().toDateString() ? clock.format(then) : day.format(then);
}

interface ThreadListProps {
  readonly threads: readonly ThreadNote[];
  readonly current: string;
  readonly begin: () => void;
}

export function ThreadList({ threads, current, begin }: ThreadListProps) {
  const [open, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!open) return;
    const close = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      opener.current?.focus();
    };
    window.addEventListener("keydown", close);
    return () => window.removeEventListener("keydown", close);
  }, [open]);
  const visit = (event: MouseEvent, thread: string) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return; // a new tab or window
    event.preventDefault();
    setOpen(false);
    go(thread);
  };
  return (
    <header className="side" data-open={open}>
      <div className="brand">
        <span className="mark" aria-hidden="true" />
        <h1>Concierge</h1>
        <button
          ref={opener}
          type="button"
          className="opener"
          aria-expanded={open}
          aria-controls="threads"
          onClick={() => setOpen(!open)}
        >
          Conversations
        </button>
      </div>
      <nav id="threads" aria-label="Conversations">
        <button
          type="button"
          className="begin"
          onClick={() => {
            setOpen(false);
            begin();
          }}
        >
          New conversation
        </button>
        <ul>
          {threads.map((thread) => (
            <li key={thread.id}>
              <a
                href={pathOf(thread.id)}
                aria-current={thread.id === current ? "page" : undefined}
                onClick={(event) => visit(event, thread.id)}
              >
                <span>{thread.title}</span>{" "}
                <time dateTime={new Date(thread.usedAt).toISOString()}>{whenOf(thread.usedAt)}</time>
              </a>
              <button
                type="button"
                className="forget"
                aria-label={`Take “${thread.title}” off the list`}
                onClick={() => {
                  forget(thread.id);
                  if (thread.id === current) begin();
                }}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
        <p className="version">Version {__VERSION__}</p>
      </nav>
    </header>
  );
}

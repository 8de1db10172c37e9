/** The list of conversations: a column on a wide screen, a drawer on a phone. */
import { type MouseEvent, useEffect, useRef, useState } from "react";
import { focusWriting } from "./focus";
import { APPROVALS, go, goTo, pathOf } from "./route";
import { forget, type ThreadList as List, older, refresh, type Thread } from "./threads";

const DRAWER = "(max-width: 48rem)"; // as in styles.css
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function whenOf(time: number): string {
  const then = new Date(time);
  return then.toDateString() === new Date().toDateString() ? clock.format(then) : day.format(then);
}

/** Whether a click asks for a new tab or window. */
const opensElsewhere = (event: MouseEvent): boolean =>
  event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0;

interface ThreadListProps {
  readonly list: List;
  readonly current: string;
  readonly begin: () => void;
}

interface LineProps {
  readonly thread: Thread;
  readonly current: boolean;
  readonly visit: (event: MouseEvent) => void;
  /** To be called when the open conversation is taken off the list. */
  readonly leave: () => void;
  /** To be called when the line is gone, with the focus on it. */
  readonly gone: () => void;
}

function Line({ thread, current, visit, leave, gone }: LineProps) {
  return (
    <li>
      <a href={pathOf(thread.id)} aria-current={current ? "page" : undefined} onClick={visit}>
        <span className="thread-title">{thread.title}</span>{" "}
        {thread.waiting && <span className="thread-waits">Waits for your approval</span>}
        {thread.running && <span className="thread-runs">Answering…</span>}
        {!thread.waiting && !thread.running && (
          <time dateTime={new Date(thread.usedAt).toISOString()}>{whenOf(thread.usedAt)}</time>
        )}
      </a>
      <button
        type="button"
        className="forget"
        aria-label={`Hide “${thread.title}”`}
        onClick={() => {
          gone();
          forget(thread.id);
          if (current) leave();
        }}
      >
        ×
      </button>
    </li>
  );
}

export function ThreadList({ list, current, begin }: ThreadListProps) {
  const [open, setOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const nav = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!open) return;
    const close = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      opener.current?.focus();
    };
    // the drawer covers the conversation, which nobody should get into with the keyboard meanwhile
    const covered = document.getElementById("conversation")?.children ?? [];
    const narrow = window.matchMedia(DRAWER);
    const widened = () => setOpen(false);
    const cover = (inert: boolean) => {
      for (const part of covered) (part as HTMLElement).inert = inert;
    };
    cover(narrow.matches);
    narrow.addEventListener("change", widened);
    window.addEventListener("keydown", close);
    return () => {
      cover(false);
      narrow.removeEventListener("change", widened);
      window.removeEventListener("keydown", close);
    };
  }, [open]);
  /** Focuses what stands at a place of the list, or the last line, or the button above it. */
  const focusLine = (place: number) => {
    const links = [...(nav.current?.querySelectorAll<HTMLElement>("li > a") ?? [])];
    const next = links[Math.min(place, links.length - 1)] ?? nav.current?.querySelector<HTMLElement>(".begin");
    next?.focus();
  };
  const visit = (event: MouseEvent, thread: string) => {
    if (opensElsewhere(event)) return;
    event.preventDefault();
    setOpen(false);
    go(thread);
    if (thread === current) focusWriting(null); // another one takes the focus itself
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
          onClick={() => {
            if (!open) void refresh();
            setOpen(!open);
          }}
        >
          Conversations
        </button>
      </div>
      <nav id="threads" aria-label="Conversations" ref={nav}>
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
        {list.approvals !== null && (
          <a
            className="approver-link"
            href={APPROVALS}
            aria-current={current === APPROVALS ? "page" : undefined}
            onClick={(event) => {
              if (opensElsewhere(event)) return;
              event.preventDefault();
              setOpen(false);
              goTo(APPROVALS);
            }}
          >
            Approvals{" "}
            <span className={list.approvals > 0 ? "thread-waits" : "thread-idle"}>
              {list.approvals > 0 ? `${list.approvals} waiting` : "none waiting"}
            </span>
          </a>
        )}
        <ul>
          {list.threads.map((thread, place) => (
            <Line
              key={thread.id}
              thread={thread}
              current={thread.id === current}
              visit={(event) => visit(event, thread.id)}
              leave={() => begin()}
              gone={() => setTimeout(() => focusLine(place))}
            />
          ))}
          {list.more && (
            <li className="more">
              <button
                type="button"
                onClick={() => void older().then(() => setTimeout(() => focusLine(list.threads.length)))}
              >
                Older conversations
              </button>
            </li>
          )}
        </ul>
        {list.remembered && <p className="remembered">Showing a saved copy: the list could not be refreshed.</p>}
        <p className="version">Version {__VERSION__}</p>
      </nav>
    </header>
  );
}

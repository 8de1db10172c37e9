/** The page of an approver: requests of other people that need a second person, each with Approve and Deny. */
import { type FormEvent, useCallback, useEffect, useId, useRef, useState } from "react";
import { announce } from "./announce";
import { answerApproval, type Found, keyOf, type Outcome, REASON, type Waiting, waitingApprovals } from "./approvals";
import { refresh } from "./threads";
import { plainName, toolTitle } from "./words";

const LOOK_AGAIN = 5_000; // milliseconds
const moment = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

const FAILED: Readonly<Record<Exclude<Outcome, "done">, string>> = {
  gone: "This request is no longer open.",
  forbidden: "You may not answer this. Reload the page to sign in again.",
  away: "The answer could not be sent. Please try again.",
};

interface RequestProps {
  readonly question: Waiting;
  readonly answer: (confirmed: boolean, reason: string) => Promise<Outcome>;
}

function Request({ question, answer }: RequestProps) {
  const heading = useId();
  const [reason, setReason] = useState("");
  const [sending, setSending] = useState(false);
  const [failed, setFailed] = useState("");
  const decide = async (confirmed: boolean) => {
    setSending(true);
    setFailed("");
    const outcome = await answer(confirmed, reason);
    if (outcome === "done") return; // the card is gone
    setSending(false);
    setFailed(FAILED[outcome]);
  };
  return (
    <li>
      <form
        className="approval"
        aria-labelledby={heading}
        onSubmit={(event: FormEvent) => {
          event.preventDefault(); // Enter in the reason decides nothing
        }}
      >
        <p className="approval-kind">
          Asked by {question.user}
          {question.requestedAt > 0 && (
            <>
              {" · "}
              <time dateTime={new Date(question.requestedAt).toISOString()}>{moment.format(question.requestedAt)}</time>
            </>
          )}
        </p>
        <h3 id={heading} tabIndex={-1}>
          {toolTitle(question.tool, question.arguments)}?
        </h3>
        <dl>
          {Object.entries(question.arguments).map(([name, value]) => (
            <div key={name}>
              <dt>{plainName(name)}</dt>
              <dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd>
            </div>
          ))}
        </dl>
        <label className="reason">
          <span>Reason (optional, kept in the records)</span>
          <input
            type="text"
            value={reason}
            maxLength={REASON}
            disabled={sending}
            onChange={(event) => setReason(event.target.value)}
          />
        </label>
        {failed && <p role="alert">{failed}</p>}
        <div className="approval-actions">
          <button type="button" className="primary" disabled={sending} onClick={() => void decide(true)}>
            Approve
          </button>
          <button type="button" disabled={sending} onClick={() => void decide(false)}>
            Deny
          </button>
        </div>
      </form>
    </li>
  );
}

export function Approver() {
  const [found, setFound] = useState<Found | null>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const look = useCallback(async () => {
    const next = await waitingApprovals();
    // without a network the last list stays: what is on the screen is not taken from under the hand
    setFound((known) => (next === "away" && known !== null ? known : next));
  }, []);

  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    void look();
    const again = setInterval(() => {
      if (document.visibilityState === "visible") void look();
    }, LOOK_AGAIN);
    return () => clearInterval(again);
  }, [look]);

  const answer = async (question: Waiting, place: number, confirmed: boolean, reason: string): Promise<Outcome> => {
    const outcome = await answerApproval(question, confirmed, reason);
    if (outcome !== "done") return outcome;
    announce(`${confirmed ? "Approved" : "Denied"}: ${toolTitle(question.tool, question.arguments)}`);
    setFound((known) =>
      Array.isArray(known) ? known.filter((other: Waiting) => keyOf(other) !== keyOf(question)) : known,
    );
    void refresh(); // the number beside the link
    setTimeout(() => {
      // the buttons are gone: the next request has the focus, or what stands above them
      const cards = [...(list.current?.querySelectorAll<HTMLElement>("h3") ?? [])];
      (cards[Math.min(place, cards.length - 1)] ?? heading.current)?.focus();
    });
    return outcome;
  };

  return (
    <div className="conversation">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <section className="scroll" aria-label="Requests" tabIndex={0}>
        <div className="sheet approver">
          <h2 ref={heading} tabIndex={-1}>
            Waiting for your approval
          </h2>
          <Said found={found} />
          <ul ref={list} aria-label="Open requests">
            {Array.isArray(found) &&
              found.map((question: Waiting, place: number) => (
                <Request
                  key={keyOf(question)}
                  question={question}
                  answer={(confirmed, reason) => answer(question, place, confirmed, reason)}
                />
              ))}
          </ul>
        </div>
      </section>
    </div>
  );
}

function Said({ found }: { found: Found | null }) {
  if (found === null) return <p>Loading the requests…</p>;
  if (found === "forbidden") return <p role="alert">You are not an approver, or you are signed out.</p>;
  if (found === "away") return <p role="alert">The requests cannot be loaded at the moment. Trying again…</p>;
  if (found.length === 0) return <p>Nothing waits for you. New requests appear here by themselves.</p>;
  return <p>After your answer the person who asked goes on in their own conversation.</p>;
}

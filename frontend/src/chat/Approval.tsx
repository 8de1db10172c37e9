/** Asks a person before an agent does something that needs consent. One run may ask for several things at once. */
import type { Interrupt } from "@copilotkit/react-core/v2";
import { useEffect, useId, useRef, useState } from "react";
import { toolTitle } from "../words";

/** What an interrupt asks for, as far as the backend says. */
export function requestOf(interrupt: Interrupt): { tool: string; arguments: Record<string, unknown> } | null {
  const adk = (
    interrupt.metadata as { adk?: { originalFunctionCall?: { name?: unknown; args?: unknown } } } | undefined
  )?.adk;
  const call = adk?.originalFunctionCall;
  if (typeof call?.name !== "string") return null;
  const given = typeof call.args === "object" && call.args !== null ? (call.args as Record<string, unknown>) : {};
  return { tool: call.name, arguments: given };
}

export function titleOf(interrupt: Interrupt): string {
  const request = requestOf(interrupt);
  return request
    ? toolTitle(request.tool, request.arguments)
    : (interrupt.message ?? "The agent asks for your consent");
}

interface CardProps {
  readonly interrupt: Interrupt;
  readonly decided: boolean | undefined;
  readonly decide: (confirmed: boolean) => void;
}

function Card({ interrupt, decided, decide }: CardProps) {
  const heading = useId();
  const facts = Object.entries(requestOf(interrupt)?.arguments ?? {});
  return (
    <section className="approval" aria-labelledby={heading} data-decided={decided}>
      <p className="approval-kind">Your approval is needed</p>
      <h2 id={heading}>{titleOf(interrupt)}?</h2>
      {facts.length > 0 && (
        <dl>
          {facts.map(([name, value]) => (
            <div key={name}>
              <dt>{name.replaceAll("_", " ")}</dt>
              <dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd>
            </div>
          ))}
        </dl>
      )}
      <div className="approval-actions">
        <button type="button" className="primary" disabled={decided !== undefined} onClick={() => decide(true)}>
          Approve
        </button>
        <button type="button" disabled={decided !== undefined} onClick={() => decide(false)}>
          Refuse
        </button>
      </div>
    </section>
  );
}

/** `answer` gets all decisions at once: a run goes on only when everything it asked is answered. */
export function Approvals({
  interrupts,
  answer,
}: {
  interrupts: readonly Interrupt[];
  answer: (decisions: ReadonlyMap<string, boolean>) => void;
}) {
  const [decisions, setDecisions] = useState<ReadonlyMap<string, boolean>>(new Map());
  const cards = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // a button that was pressed is disabled and loses the focus: the next question has it
    if (decisions.size > 0) cards.current?.querySelector<HTMLElement>("button:not([disabled])")?.focus();
  }, [decisions]);
  const decide = (id: string, confirmed: boolean) => {
    const next = new Map(decisions).set(id, confirmed);
    setDecisions(next);
    if (interrupts.every((interrupt) => next.has(interrupt.id))) answer(next);
  };
  return (
    <div className="approvals" ref={cards}>
      {interrupts.map((interrupt) => (
        <Card
          key={interrupt.id}
          interrupt={interrupt}
          decided={decisions.get(interrupt.id)}
          decide={(confirmed) => decide(interrupt.id, confirmed)}
        />
      ))}
    </div>
  );
}

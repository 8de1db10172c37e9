/** The turns of a conversation: what was asked, what was done, what was said, and what a guardrail stopped. */
import { memo } from "react";
import { Copy } from "../Copy";
import { Markdown } from "../Markdown";
import type { Part, Step, StepState, Turn } from "../turns";
import { agentName, cutNotice, ruleReason, toolTitle } from "../words";
import { PipelineCard } from "./PipelineCard";

const STATES: Readonly<Record<StepState, string>> = {
  running: "under way",
  done: "done",
  waiting: "needs your approval",
  blocked: "blocked",
  refused: "not done",
  failed: "failed",
  stopped: "stopped",
};

function StepLine({ step }: { step: Step }) {
  return (
    <p className="step" data-state={step.state} data-tool={step.tool}>
      <span className="step-title">{toolTitle(step.tool, step.arguments)}</span>
      <span className="step-state">
        {STATES[step.state]}
        {step.rule ? `: ${ruleReason(step.rule)}` : ""}
      </span>
    </p>
  );
}

function Blocked({ rule, text }: { rule: string; text: string }) {
  return (
    <div className="blocked" data-rule={rule}>
      <p className="blocked-head">
        <strong>Blocked by a guardrail</strong> because {ruleReason(rule)}.
      </p>
      <Markdown>{text}</Markdown>
    </div>
  );
}

function PartView({ part, signed, blockedBy }: { part: Part; signed: boolean; blockedBy: string | null }) {
  if (part.kind === "step") {
    const { step } = part;
    if (!step.pipeline || step.state === "blocked") return <StepLine step={step} />;
    return <PipelineCard title={toolTitle(step.tool, step.arguments)} pipeline={step.pipeline} />;
  }
  if (blockedBy !== null) return <Blocked rule={blockedBy} text={part.text} />;
  return (
    <div className="said">
      {signed && <p className="agent">{agentName(part.agent)}</p>}
      <Markdown>{part.text}</Markdown>
    </div>
  );
}

/** What the agents said in a turn, as they wrote it. */
const saidIn = (turn: Turn): string =>
  turn.parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n\n");

/** What stands below an answer that has ended. */
function Foot({ turn }: { turn: Turn }) {
  const said = turn.blockedBy === null ? saidIn(turn) : "";
  return (
    <>
      {turn.cut !== null && (
        <p className="cut" data-reason={turn.cut}>
          {cutNotice(turn.cut, turn.parts.length > 0)}
        </p>
      )}
      {turn.cut === null && turn.parts.length === 0 && (
        <p className="unanswered">This was not answered. You can ask again.</p>
      )}
      {said && (
        <div className="turn-actions">
          <Copy what="the answer" text={() => said} />
        </div>
      )}
    </>
  );
}

const TurnView = memo(
  function TurnView({ turn, over }: { turn: Turn; over: boolean }) {
    let signedBy = "";
    return (
      <li className="turn">
        {turn.asked !== null && (
          <div className="asked">
            <span className="unseen">You asked: </span>
            {turn.asked}
          </div>
        )}
        {turn.parts.map((part) => {
          const signed = part.kind === "text" && part.agent !== signedBy;
          if (part.kind === "text") signedBy = part.agent;
          return <PartView key={part.key} part={part} signed={signed} blockedBy={turn.blockedBy} />;
        })}
        {over && <Foot turn={turn} />}
      </li>
    );
  },
  // a long conversation is computed anew with each word that streams in; only the turn that grew is drawn anew
  (before, after) => before.over === after.over && JSON.stringify(before.turn) === JSON.stringify(after.turn),
);

export function Turns({ turns, busy }: { turns: readonly Turn[]; busy: boolean }) {
  return (
    <ol className="turns" aria-label="Conversation" aria-busy={busy}>
      {turns.map((turn, index) => (
        <TurnView key={turn.key} turn={turn} over={!busy || index < turns.length - 1} />
      ))}
    </ol>
  );
}

/** One conversation on the screen: turns, approvals, the state of the connection, and the writing field. */
import { type CopilotChatViewProps, useAgent, useCopilotKit, useInterrupt } from "@copilotkit/react-core/v2";
import { useEffect, useMemo, useRef, useState } from "react";
import { useStickToBottom } from "use-stick-to-bottom";
import { AGENT_ID } from "../runtime";
import { blocked, type ThreadNote, used } from "../threads";
import { turnsOf } from "../turns";
import { Approvals, titleOf } from "./Approval";
import { Composer } from "./Composer";
import { Turns } from "./Turns";
import { useDraft } from "./useDraft";
import { useLink } from "./useLink";
import { useResults } from "./useResults";

const EXAMPLES = ["Where is order 42?", "Refund order 42 for 80", "Research oak bookshelf"];

const NO_BLOCKS: ThreadNote["blocks"] = [];

export interface ConversationProps extends CopilotChatViewProps {
  readonly thread: string;
  readonly note: ThreadNote | undefined;
  readonly begun: () => void;
  readonly restart: () => void;
}

/** Remembers what guardrails block in this thread: the conversation as the backend keeps it does not say. */
function useBlocks(thread: string): void {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  useEffect(() => {
    const watch = agent.subscribe({
      onCustomEvent: ({ event, messages }) => {
        if (event.name !== "guardrail.block") return;
        const { rule, stage } = (event.value ?? {}) as Record<string, unknown>;
        const turn = messages.filter((message) => message.role === "user").length;
        if (typeof rule === "string" && typeof stage === "string") blocked(thread, { turn, rule, stage });
      },
    });
    return () => watch.unsubscribe();
  }, [agent, thread]);
}

/** The open questions of the agents, and how to answer them. */
function useApprovals() {
  const { copilotkit } = useCopilotKit();
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  const [asked, setAsked] = useState("");
  const element = useInterrupt({
    agentId: AGENT_ID,
    renderInChat: false,
    handler: ({ interrupts }) => setAsked(interrupts.map(titleOf).join("; ")),
    render: ({ interrupts }) => (
      <Approvals
        key={interrupts.map((interrupt) => interrupt.id).join()}
        interrupts={interrupts}
        answer={(decisions) => {
          // not the hook's own `resolve`: it would send the id of the run that asked, and every run has its own
          const resume = [...decisions].map(([interruptId, confirmed]) => ({
            interruptId,
            status: "resolved" as const,
            payload: { confirmed },
          }));
          void copilotkit.runAgent({ agent, resume });
        }}
      />
    ),
  });
  return { element, asked: element ? asked : "" };
}

export function Conversation(props: ConversationProps) {
  const { thread, note, begun, restart, messages = [], isRunning = false, isConnecting = false } = props;
  const { onSubmitMessage, onStop } = props;
  const [draft, setDraft] = useDraft(thread);
  const field = useRef<HTMLTextAreaElement>(null);
  const link = useLink(restart, (words) => setDraft(words));
  const approvals = useApprovals();
  useBlocks(thread);
  const blocks = note?.blocks ?? NO_BLOCKS;
  const results = useResults();
  const answering = isRunning && messages.length > 0;
  const turns = useMemo(() => turnsOf(messages, results, blocks, answering), [messages, results, blocks, answering]);
  const { scrollRef, contentRef, isAtBottom, scrollToBottom } = useStickToBottom({
    initial: "instant",
    resize: "instant",
  });

  const shown = link.fault?.sentence;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a notice that comes or goes moves the end out of sight
  useEffect(() => {
    if (isAtBottom) void scrollToBottom("instant");
  }, [shown, scrollToBottom]);

  const send = (words: string) => {
    link.sending(words);
    setDraft("");
    if (turns.length === 0 || !note) used(thread, words, Date.now());
    else used(thread, note.title, Date.now());
    begun();
    void onSubmitMessage?.(words);
    void scrollToBottom();
  };
  const waitFor = waitingFor(Boolean(approvals.element), answering, Boolean(onSubmitMessage) && !isConnecting);
  const last = turns.at(-1)?.parts.at(-1);
  const heard = approvals.asked
    ? `Your approval is needed: ${approvals.asked}`
    : answering
      ? "Answering"
      : last?.kind === "text"
        ? last.text
        : "";
  return (
    <div className="conversation" data-running={answering}>
      <div className="scroll" ref={scrollRef}>
        <div className="sheet" ref={contentRef}>
          {turns.length === 0 &&
            (isConnecting && note ? (
              <p className="opening">Opening the conversation…</p>
            ) : (
              <Welcome ask={waitFor === null ? send : null} />
            ))}
          <Turns turns={turns} busy={answering} />
          {answering && last?.kind !== "text" && <p className="working">Working on it</p>}
          {approvals.element}
        </div>
      </div>
      <p className="unseen" role="status" data-testid="announcer">
        {heard}
      </p>
      <div className="foot">
        {!isAtBottom && turns.length > 0 && (
          <button type="button" className="latest" onClick={() => void scrollToBottom()}>
            Latest
          </button>
        )}
        {link.fault && (
          <div className="fault" role="alert" data-kind={link.fault.kind}>
            <p>{link.fault.sentence}</p>
            {link.fault.kind !== "lost" && (
              <button type="button" onClick={link.dismiss}>
                Dismiss
              </button>
            )}
          </div>
        )}
        <Composer
          draft={draft}
          setDraft={setDraft}
          send={send}
          stop={answering ? onStop : undefined}
          waitFor={link.fault?.kind === "lost" ? "Waiting for the connection" : waitFor}
          field={field}
        />
      </div>
    </div>
  );
}

function waitingFor(approval: boolean, answering: boolean, ready: boolean): string | null {
  if (approval) return "Approve or refuse first";
  if (answering) return "Escape stops the answer";
  return ready ? null : "Connecting…";
}

function Welcome({ ask }: { ask: ((words: string) => void) | null }) {
  return (
    <div className="welcome">
      <h2>How may I help?</h2>
      <p>I look after orders and refunds, research products and book deliveries.</p>
      <ul>
        {EXAMPLES.map((words) => (
          <li key={words}>
            <button type="button" disabled={ask === null} onClick={() => ask?.(words)}>
              {words}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** One conversation on the screen: turns, approvals, the state of the connection, and the writing field. */
import {
  type CopilotChatViewProps,
  UseAgentUpdate,
  useAgent,
  useCopilotKit,
  useInterrupt,
} from "@copilotkit/react-core/v2";
import { useEffect, useMemo, useRef, useState } from "react";
import { useStickToBottom } from "use-stick-to-bottom";
import { pipelinesOf } from "../pipelines";
import { AGENT_ID } from "../runtime";
import { refresh, used } from "../threads";
import { type Turn, turnsOf } from "../turns";
import { toolTitle } from "../words";
import { Approvals, titleOf } from "./Approval";
import { Composer } from "./Composer";
import { progressOf } from "./PipelineCard";
import { Turns } from "./Turns";
import { useBlocks } from "./useBlocks";
import { useDraft } from "./useDraft";
import { useLink } from "./useLink";
import { useResults } from "./useResults";

const EXAMPLES = ["Where is order 42?", "Refund order 42 for 80", "Research oak bookshelf"];

export interface ConversationProps extends CopilotChatViewProps {
  readonly thread: string;
  /** Whether the address names this conversation, which then has a history to wait for. */
  readonly addressed: boolean;
  readonly begun: () => void;
  readonly restart: () => void;
}

/** How far pipelines are, as the agents' state says now. */
function usePipelines(live: boolean) {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [UseAgentUpdate.OnStateChanged] });
  const { state } = agent;
  return useMemo(() => pipelinesOf(state, live), [state, live]);
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
          let heard = false;
          const hear = () => {
            heard = true;
          };
          const watch = agent.subscribe({ onToolCallResultEvent: hear, onTextMessageStartEvent: hear });
          void copilotkit
            .runAgent({ agent, resume })
            // nothing came of it: the question was answered in another window, so see what came of that
            .then(() => (heard ? undefined : copilotkit.connectAgent({ agent })))
            .finally(() => watch.unsubscribe());
        }}
      />
    ),
  });
  return { element, asked: element ? asked : "" };
}

export function Conversation(props: ConversationProps) {
  const { thread, addressed, begun, restart, messages = [], isRunning = false, isConnecting = false } = props;
  const { onSubmitMessage, onStop } = props;
  const [draft, setDraft] = useDraft(thread);
  const field = useRef<HTMLTextAreaElement>(null);
  const link = useLink(restart, (words) => setDraft(words));
  const approvals = useApprovals();
  const blocks = useBlocks();
  const results = useResults();
  const answering = isRunning && messages.length > 0;
  const pipelines = usePipelines(answering);
  const turns = useMemo(
    () => turnsOf(messages, results, blocks, answering, pipelines),
    [messages, results, blocks, answering, pipelines],
  );
  useEffect(() => {
    if (!answering) void refresh(); // an answer ended, or a conversation was opened
  }, [answering]);
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
    used(thread, turns[0]?.asked ?? words, Date.now());
    begun();
    void onSubmitMessage?.(words);
    void scrollToBottom();
  };
  const waitFor = waitingFor(Boolean(approvals.element), answering, Boolean(onSubmitMessage) && !isConnecting);
  const last = turns.at(-1)?.parts.at(-1);
  const heard = approvals.asked ? `Your approval is needed: ${approvals.asked}` : heardOf(turns.at(-1), answering);
  return (
    <div className="conversation" data-running={answering}>
      <div className="scroll" ref={scrollRef}>
        <div className="sheet" ref={contentRef}>
          {turns.length === 0 &&
            (isConnecting && addressed ? (
              <p className="opening">Opening the conversation…</p>
            ) : (
              <Welcome ask={waitFor === null ? send : null} />
            ))}
          <Turns turns={turns} busy={answering} />
          {answering && last?.kind !== "text" && !(last?.kind === "step" && last.step.pipeline) && (
            <p className="working">Working on it</p>
          )}
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

/** What the status line says: how far an answer is while it goes on, and the answer when it has ended. */
function heardOf(turn: Turn | undefined, answering: boolean): string {
  const last = turn?.parts.at(-1);
  if (!answering) return last?.kind === "text" ? last.text : "";
  if (last?.kind !== "step" || !last.step.pipeline) return "Answering";
  return progressOf(toolTitle(last.step.tool, last.step.arguments), last.step.pipeline);
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

/** One conversation on the screen: turns, approvals, the state of the connection, and the writing field. */
import { type CopilotChatViewProps, UseAgentUpdate, useAgent } from "@copilotkit/react-core/v2";
import { type RefObject, useEffect, useMemo, useRef, useState } from "react";
import { useStickToBottom } from "use-stick-to-bottom";
import { focusIsNowhere, focusWriting } from "../focus";
import { pipelinesOf } from "../pipelines";
import { roomNotice, roomOf } from "../room";
import { AGENT_ID } from "../runtime";
import { refresh, used, useThreads } from "../threads";
import { type Turn, turnsOf } from "../turns";
import { toolTitle } from "../words";
import { Composer } from "./Composer";
import { NotFound } from "./NotFound";
import { Notices } from "./Notices";
import { progressOf } from "./PipelineCard";
import { Turns } from "./Turns";
import { useApprovals } from "./useApprovals";
import { useBlocks } from "./useBlocks";
import { useCuts } from "./useCuts";
import { useDraft } from "./useDraft";
import { useLink } from "./useLink";
import { useResults } from "./useResults";
import { Welcome } from "./Welcome";

export interface ConversationProps extends CopilotChatViewProps {
  readonly thread: string;
  /** Whether the address names this conversation, which then has a history to wait for. */
  readonly addressed: boolean;
  readonly begun: () => void;
  /** Starts a new conversation, with words that are still to be sent. */
  readonly begin: (words?: string) => void;
  readonly restart: () => void;
}

/** How far pipelines are, as the agents' state says now. */
function usePipelines(live: boolean) {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [UseAgentUpdate.OnStateChanged] });
  const { state } = agent;
  return useMemo(() => pipelinesOf(state, live), [state, live]);
}

/** The thread that was shown last: a page that reconnects shows the same one anew and leaves the focus alone. */
let shownBefore: string | null = null;

/** Puts the focus where the user goes on when another conversation is shown. */
function useFocusOn(thread: string, field: RefObject<HTMLTextAreaElement | null>): void {
  useEffect(() => {
    if (shownBefore !== thread || focusIsNowhere()) focusWriting(field.current);
    shownBefore = thread;
  }, [thread, field]);
}

/** Whether the backend has told anything about this conversation. One that it does not know has no events. */
function useTold(): boolean {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  const [told, setTold] = useState(false);
  useEffect(() => {
    const watch = agent.subscribe({ onRunStartedEvent: () => setTold(true) });
    return () => watch.unsubscribe();
  }, [agent]);
  return told;
}

export function Conversation(props: ConversationProps) {
  const { thread, addressed, begun, begin, restart, messages = [], isRunning = false, isConnecting = false } = props;
  const { onSubmitMessage, onStop } = props;
  const [draft, setDraft] = useDraft(thread);
  const [mine, setMine] = useState(draft !== ""); // what this page began may be unknown to the backend
  const field = useRef<HTMLTextAreaElement>(null);
  useFocusOn(thread, field);
  const write = () => focusWriting(field.current);
  const link = useLink(restart, (words) => setDraft(words));
  const approvals = useApprovals(write);
  const blocks = useBlocks();
  const cuts = useCuts();
  const told = useTold();
  const results = useResults();
  const answering = isRunning && messages.length > 0;
  const pipelines = usePipelines(answering);
  const turns = useMemo(
    () => turnsOf(messages, results, blocks, answering, pipelines, cuts),
    [messages, results, blocks, answering, pipelines, cuts],
  );
  const room = useRoom(thread, turns.length);
  useEffect(() => {
    if (!answering) void refresh(); // an answer ended, or a conversation was opened
  }, [answering]);
  const { scrollRef, contentRef, isAtBottom, scrollToBottom } = useStickToBottom({
    initial: "instant",
    resize: "instant",
  });

  const shown = `${link.fault?.sentence} ${roomNotice(room)}`;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a notice that comes or goes moves the end out of sight
  useEffect(() => {
    if (isAtBottom) void scrollToBottom("instant");
  }, [shown, scrollToBottom]);

  const send = (words: string) => {
    link.sending(words);
    setMine(true);
    setDraft("");
    used(thread, turns[0]?.asked ?? words, Date.now());
    begun();
    void onSubmitMessage?.(words);
    void scrollToBottom();
    write();
  };
  const goOn = () => {
    setDraft("");
    begin(draft);
  };
  const empty = turns.length === 0;
  const opening = isConnecting && addressed;
  if (empty && addressed && !opening && !told && !mine && !link.fault) {
    return <NotFound begin={() => begin()} />;
  }
  const connected = Boolean(onSubmitMessage) && !isConnecting;
  const waitFor = waitingFor(Boolean(approvals.element), answering, connected, room === 0);
  const last = turns.at(-1)?.parts.at(-1);
  const heard = approvals.asked ? `Your approval is needed: ${approvals.asked}` : heardOf(turns.at(-1), answering);
  return (
    <div className="conversation" data-running={answering}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <section className="scroll" aria-label="Messages" tabIndex={0} ref={scrollRef}>
        {empty ? (
          <div className="sheet">
            {opening ? (
              <p className="opening">Opening the conversation…</p>
            ) : (
              <Welcome ask={waitFor === null ? send : null} />
            )}
          </div>
        ) : (
          // only this sticks to its end: a first visit is read from the top
          <div className="sheet" ref={contentRef}>
            <Turns turns={turns} busy={answering} />
            {answering && last?.kind !== "text" && !(last?.kind === "step" && last.step.pipeline) && (
              <p className="working">Working on it</p>
            )}
            {approvals.element}
          </div>
        )}
      </section>
      <p className="unseen" role="status" data-testid="announcer">
        {heard}
      </p>
      <div className="foot">
        {!isAtBottom && !empty && (
          <button
            type="button"
            className="latest"
            onClick={() => {
              void scrollToBottom();
              write();
            }}
          >
            Latest
          </button>
        )}
        <Notices link={link} room={room} words={draft} goOn={goOn} done={write} />
        <Composer
          draft={draft}
          setDraft={setDraft}
          send={send}
          stop={
            answering && onStop
              ? () => {
                  onStop();
                  write();
                }
              : undefined
          }
          waitFor={link.fault?.kind === "lost" ? "Waiting for the connection" : waitFor}
          field={field}
        />
      </div>
    </div>
  );
}

/** How many messages the conversation can still take. */
function useRoom(thread: string, turns: number): number | null {
  const { threads, limits } = useThreads();
  return roomOf(limits, turns, threads.find((known) => known.id === thread)?.runs ?? 0);
}

/** What the status line says: how far an answer is while it goes on, and the answer when it has ended. */
function heardOf(turn: Turn | undefined, answering: boolean): string {
  const last = turn?.parts.at(-1);
  if (!answering) return last?.kind === "text" ? last.text : "";
  if (last?.kind !== "step" || !last.step.pipeline) return "Answering";
  return progressOf(toolTitle(last.step.tool, last.step.arguments), last.step.pipeline);
}

function waitingFor(approval: boolean, answering: boolean, ready: boolean, full: boolean): string | null {
  if (approval) return "Answer the request above to continue";
  if (answering) return "Escape stops the answer";
  if (full) return "This conversation is full";
  return ready ? null : "Connecting…";
}

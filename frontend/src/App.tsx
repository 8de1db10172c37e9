/** The page: the list of conversations and the one that the address names. */
import { CopilotChat, CopilotKit, randomUUID } from "@copilotkit/react-core/v2";
import { useCallback, useEffect, useMemo, useState } from "react";
import { Approver } from "./Approver";
import { useNotice } from "./announce";
import { Conversation } from "./chat/Conversation";
import { NotFound } from "./chat/NotFound";
import { keepDraft } from "./chat/useDraft";
import { newest } from "./newest";
import { APPROVALS, go, namesNoThread, threadOf, usePath } from "./route";
import { AGENT_ID, RUNTIME_URL } from "./runtime";
import { ThreadList } from "./ThreadList";
import { refresh, useThreads } from "./threads";

const FRESH = "concierge.fresh";
const LOOK_AGAIN = 4000; // milliseconds

export function App() {
  const path = usePath();
  const addressed = threadOf(path);
  const [fresh, setFresh] = useState(() => window.sessionStorage.getItem(FRESH) ?? randomUUID());
  const [epoch, setEpoch] = useState(0);
  const list = useThreads();
  const thread = addressed ?? fresh;
  const approving = path === APPROVALS;
  const title = approving ? "Approvals" : list.threads.find((known) => known.id === thread)?.title;
  const restart = useCallback(() => setEpoch((n) => n + 1), []);
  const begun = useCallback(() => {
    if (addressed !== null) return;
    go(thread, window.history.length <= 1);
    setFresh(randomUUID()); // the next one is another
  }, [thread, addressed]);
  const begin = useCallback((words = "") => {
    const next = randomUUID();
    keepDraft(next, words);
    setFresh(next);
    go(null);
  }, []);

  // what was written into a conversation that has not begun is still there after a reload
  useEffect(() => window.sessionStorage.setItem(FRESH, fresh), [fresh]);

  useEffect(() => {
    document.title = title ? `${title} · Concierge` : "Concierge";
  }, [title]);

  // an answer that goes on in another conversation may come to a question
  useEffect(() => {
    if (list.remembered || !list.threads.some((known) => known.running)) return;
    const again = setTimeout(() => void refresh(), LOOK_AGAIN);
    return () => clearTimeout(again);
  }, [list]);

  useEffect(() => {
    const look = () => {
      if (document.visibilityState === "visible") void refresh();
    };
    document.addEventListener("visibilitychange", look);
    window.addEventListener("online", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      window.removeEventListener("online", look);
    };
  }, []);

  // the chat is told which conversation it shows; a new identity of this object would build it anew
  const view = useMemo(
    () => ({ thread, addressed: addressed !== null, begun, begin, restart }),
    [thread, addressed, begun, begin, restart],
  );
  const notice = useNotice();
  return (
    <>
      <a className="skip" href="#conversation">
        Skip to the conversation
      </a>
      <ThreadList list={list} current={approving ? APPROVALS : thread} begin={begin} />
      <main id="conversation" tabIndex={-1}>
        {approving ? (
          <Approver />
        ) : namesNoThread(path) ? (
          <NotFound begin={() => begin()} />
        ) : (
          <CopilotKit
            key={`${epoch} ${thread}`} // each has an agent of its own: one that waits for approval connects to no other
            runtimeUrl={RUNTIME_URL}
            useSingleEndpoint={false}
            messageFilter={newest}
            showDevConsole={false}
            enableInspector={false}
          >
            <CopilotChat
              key={thread}
              agentId={AGENT_ID}
              threadId={thread}
              throttleMs={40}
              chatView={Conversation as never}
              {...view}
            />
          </CopilotKit>
        )}
      </main>
      <p className="unseen" role="status" data-testid="notice">
        {notice}
      </p>
    </>
  );
}

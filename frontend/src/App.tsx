/** The page: the list of conversations and the one that the address names. */
import { CopilotChat, CopilotKit, randomUUID } from "@copilotkit/react-core/v2";
import { useCallback, useEffect, useMemo, useState } from "react";
import { Conversation } from "./chat/Conversation";
import { go, useAddressedThread } from "./route";
import { AGENT_ID, RUNTIME_URL } from "./runtime";
import { ThreadList } from "./ThreadList";
import { useThreads } from "./threads";

export function App() {
  const addressed = useAddressedThread();
  const [fresh, setFresh] = useState(randomUUID);
  const [epoch, setEpoch] = useState(0);
  const threads = useThreads();
  const thread = addressed ?? fresh;
  const note = threads.find((known) => known.id === thread);
  const restart = useCallback(() => setEpoch((n) => n + 1), []);
  const begun = useCallback(() => go(thread, addressed === null && window.history.length <= 1), [thread, addressed]);
  const begin = useCallback(() => {
    setFresh(randomUUID());
    go(null);
  }, []);

  useEffect(() => {
    document.title = note ? `${note.title} · Concierge` : "Concierge";
  }, [note]);

  // the chat is told which conversation it shows; a new identity of this object would build it anew
  const view = useMemo(() => ({ thread, note, begun, restart }), [thread, note, begun, restart]);
  return (
    <>
      <a className="skip" href="#conversation">
        Skip to the conversation
      </a>
      <ThreadList threads={threads} current={thread} begin={begin} />
      <main id="conversation" tabIndex={-1}>
        <CopilotKit
          key={epoch}
          runtimeUrl={RUNTIME_URL}
          useSingleEndpoint={false}
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
      </main>
    </>
  );
}

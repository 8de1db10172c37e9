/**
 * The page's link to the backend: what went wrong, and coming back by itself.
 *
 * A run goes on in the backend when a page goes away. Coming back therefore means asking for the thread: the answer
 * holds all that was said and then follows the live run. Words that never arrived go back to the writing field.
 */
import { type Message, useAgent, useCopilotKit } from "@copilotkit/react-core/v2";
import { useCallback, useEffect, useRef, useState } from "react";
import { type Fault, faultOf } from "../faults";
import { AGENT_ID, backendAnswers } from "../runtime";
import { arrived, isUsers, type Sent, withoutUnheard } from "../sent";

const WAITS = [400, 1000, 2000, 4000, 8000, 15000];
const OFFLINE: Fault = {
  kind: "lost",
  sentence: "You are offline. The page reconnects when the network is back.",
  again: false,
};

export interface Link {
  readonly fault: Fault | null;
  readonly dismiss: () => void;
  /** To be called when words go out. */
  readonly sending: (words: string) => void;
}

/** `restart` builds the connection anew; `unsent` gets words that the backend never took. */
export function useLink(restart: () => void, unsent: (words: string) => void): Link {
  const { copilotkit } = useCopilotKit();
  const { agent } = useAgent({ agentId: AGENT_ID });
  const [fault, setFault] = useState<Fault | null>(null);
  const sent = useRef<Sent | null>(null);
  const giveBack = useRef(unsent);
  giveBack.current = unsent;

  const joining = useRef(false); // what is said then may answer somebody else's words
  const takeBack = useCallback(() => {
    const unheard = sent.current;
    sent.current = null;
    if (!unheard) return;
    const kept = withoutUnheard(unheard, agent.messages);
    if (kept.length < agent.messages.length) agent.setMessages(kept);
    giveBack.current(unheard.words);
  }, [agent]);

  useEffect(() => {
    const errors = copilotkit.subscribe({
      onError: ({ error }) => {
        const seen = navigator.onLine ? faultOf(error) : OFFLINE;
        setFault(seen);
        if (seen.kind === "refused") takeBack();
      },
    });
    const runs = agent.subscribe({
      onRunStartedEvent: () => {
        setFault((now) => (now?.kind === "lost" ? now : null));
      },
      onTextMessageStartEvent: () => {
        if (!joining.current) sent.current = null;
      },
      onToolCallStartEvent: () => {
        if (!joining.current) sent.current = null;
      },
    });
    const offline = () => setFault(OFFLINE);
    window.addEventListener("offline", offline);
    return () => {
      errors.unsubscribe();
      runs.unsubscribe();
      window.removeEventListener("offline", offline);
    };
  }, [copilotkit, agent, takeBack]);

  const lost = fault?.kind === "lost";
  useEffect(() => {
    if (!lost) return;
    let left = false;
    let wake: () => void = () => {};
    const pause = (milliseconds: number) =>
      new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, milliseconds);
      });
    const online = () => wake();
    window.addEventListener("online", online);
    const comeBack = async () => {
      for (let attempt = 0; !left; attempt++) {
        await pause(WAITS[Math.min(attempt, WAITS.length - 1)] as number);
        if (left || !(await backendAnswers()) || left) continue;
        setFault(null);
        // an agent that holds an open question connects to nothing; a new one asks whether it is still open
        if (copilotkit.runtimeConnectionStatus !== "connected" || agent.pendingInterrupts.length > 0) {
          if (sent.current) giveBack.current(sent.current.words); // kept, should they not have arrived
          restart();
          return;
        }
        const watch = agent.subscribe({
          onMessagesSnapshotEvent: ({ event }) => {
            // at once: the live run that follows may take its time
            if (sent.current && arrived(sent.current, event.messages as Message[])) sent.current = null;
            else setTimeout(takeBack); // when the snapshot is in place
          },
        });
        joining.current = true;
        try {
          await copilotkit.connectAgent({ agent });
        } finally {
          joining.current = false;
          watch.unsubscribe();
        }
        takeBack(); // a thread that nobody knows has no messages to tell
        return;
      }
    };
    void comeBack();
    return () => {
      left = true;
      wake();
      window.removeEventListener("online", online);
    };
  }, [lost, copilotkit, agent, restart, takeBack]);

  return {
    fault,
    dismiss: useCallback(() => setFault(null), []),
    sending: useCallback(
      (words) => {
        setFault(null);
        sent.current = { words: words.trim(), before: agent.messages.filter(isUsers).length };
      },
      [agent],
    ),
  };
}

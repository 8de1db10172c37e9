/**
 * What tools answered, by call, straight from the events.
 *
 * An approved call answers twice: that it needs consent, then what it did. CopilotKit's messages lose the second
 * one when the run ends (seen with 1.74), so they alone would say for ever that consent is needed.
 */
import { useAgent } from "@copilotkit/react-core/v2";
import { useEffect, useState } from "react";
import { AGENT_ID } from "../runtime";
import { type Results, textOf, withResults } from "../turns";

export function useResults(): Results {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  const [results, setResults] = useState<Results>(new Map());
  useEffect(() => {
    const watch = agent.subscribe({
      onToolCallResultEvent: ({ event }) => {
        setResults((known) => withResults(known, [[event.toolCallId, event.content]]));
      },
      onMessagesSnapshotEvent: ({ event }) => {
        const told = event.messages.flatMap((message) =>
          message.role === "tool" ? [[message.toolCallId, textOf(message.content)] as const] : [],
        );
        setResults((known) => withResults(known, told));
      },
    });
    return () => watch.unsubscribe();
  }, [agent]);
  return results;
}

/** Which answers ended early: told as it happens, and again when the page comes back to the conversation. */
import { useAgent } from "@copilotkit/react-core/v2";
import { useEffect, useState } from "react";
import { AGENT_ID } from "../runtime";
import { type Cuts, withCut, withoutCut } from "../turns";

export function useCuts(): Cuts {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  const [cuts, setCuts] = useState<Cuts>(new Map());
  useEffect(() => {
    const askedOf = (messages: readonly { role: string }[]) => messages.filter(({ role }) => role === "user").length;
    const watch = agent.subscribe({
      onRunStartedEvent: ({ messages }) => {
        const asked = askedOf(messages); // an approval makes the same answer go on
        setCuts((known) => withoutCut(known, asked));
      },
      onCustomEvent: ({ event, messages }) => {
        if (event.name !== "run.cut_short") return;
        const asked = askedOf(messages);
        setCuts((known) => withCut(known, event.value, asked));
      },
    });
    return () => watch.unsubscribe();
  }, [agent]);
  return cuts;
}

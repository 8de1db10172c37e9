/** The open questions of the agents, as cards, and how their answers get to the backend. */
import { useAgent, useCopilotKit, useInterrupt } from "@copilotkit/react-core/v2";
import { useState } from "react";
import { AGENT_ID } from "../runtime";
import { Approvals, titleOf } from "./Approval";

/** `answered` is called when all of them are. */
export function useApprovals(answered: () => void) {
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
          answered();
          let heard = false;
          const hear = () => {
            heard = true;
          };
          let finished = false;
          const watch = agent.subscribe({
            onToolCallResultEvent: hear,
            onTextMessageStartEvent: hear,
            onRunFinishedEvent: () => {
              finished = true;
            },
          });
          void copilotkit
            .runAgent({ agent, resume })
            // nothing came of it: the question was answered in another window, so see what came of that. A run that
            // failed is the link's business
            .then(() => (finished && !heard ? copilotkit.connectAgent({ agent }) : undefined))
            .finally(() => watch.unsubscribe());
        }}
      />
    ),
  });
  return { element, asked: element ? asked : "" };
}

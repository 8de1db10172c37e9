/** What guardrails blocked in this conversation: told as it happens, and again when the page comes back to it. */
import { useAgent } from "@copilotkit/react-core/v2";
import { useEffect, useState } from "react";
import { AGENT_ID } from "../runtime";
import { type Block, withBlock } from "../turns";

export function useBlocks(): readonly Block[] {
  const { agent } = useAgent({ agentId: AGENT_ID, updates: [] });
  const [blocks, setBlocks] = useState<readonly Block[]>([]);
  useEffect(() => {
    const watch = agent.subscribe({
      onCustomEvent: ({ event, messages }) => {
        if (event.name !== "guardrail.block") return;
        const asked = messages.filter((message) => message.role === "user").length;
        setBlocks((known) => withBlock(known, event.value, asked));
      },
    });
    return () => watch.unsubscribe();
  }, [agent]);
  return blocks;
}

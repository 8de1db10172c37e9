/** Whether words that were sent are in the thread, and the conversation without those that are not. Pure. */
import type { Message } from "@copilotkit/react-core/v2";
import { textOf } from "./turns";

export interface Sent {
  readonly words: string;
  /** How many messages the user had written before this one. */
  readonly before: number;
}

export const isUsers = ({ role }: Message): boolean => role === "user";

/**
 * Whether words that were sent are among the messages of a thread. Messages are not told by their ids, which the
 * backend gives anew; and another window may have sent something else meanwhile, so their number tells nothing either.
 */
export function arrived({ words, before }: Sent, messages: readonly Message[]): boolean {
  return messages
    .filter(isUsers)
    .slice(before)
    .some(({ content }) => textOf(content).trim() === words);
}

/** The messages without the words that never arrived. */
export function withoutUnheard({ words, before }: Sent, messages: readonly Message[]): Message[] {
  let user = 0;
  return messages.filter((message) => {
    if (!isUsers(message)) return true;
    user += 1;
    return user <= before || textOf(message.content).trim() !== words;
  });
}

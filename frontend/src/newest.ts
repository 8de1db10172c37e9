/**
 * What of a conversation goes to the backend with a run: the message that is new, and nothing else.
 *
 * The backend has the thread. Sending all of it back made a conversation end when its messages no longer fitted into
 * one request, long before the conversation's own limit.
 */
import type { Message } from "@copilotkit/react-core/v2";

export function newest(messages: readonly Message[]): Message[] {
  const last = messages.at(-1);
  return last?.role === "user" ? [last] : [];
}

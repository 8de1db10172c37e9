/** Words that were written and not sent yet; a reload keeps them. */
import { useCallback, useState } from "react";

const keyOf = (thread: string) => `concierge.draft.${thread}`;

/** Keeps `words` as what is being written in a conversation. */
export function keepDraft(thread: string, words: string): void {
  try {
    if (words) window.sessionStorage.setItem(keyOf(thread), words);
    else window.sessionStorage.removeItem(keyOf(thread));
  } catch {
    // a full or forbidden store: the words last as long as the page
  }
}

export function useDraft(thread: string): readonly [string, (words: string) => void] {
  const [draft, setDraft] = useState(() => window.sessionStorage.getItem(keyOf(thread)) ?? "");
  const keep = useCallback(
    (words: string) => {
      setDraft(words);
      keepDraft(thread, words);
    },
    [thread],
  );
  return [draft, keep];
}

/** Words that were written and not sent yet; a reload keeps them. */
import { useCallback, useState } from "react";

const keyOf = (thread: string) => `concierge.draft.${thread}`;

export function useDraft(thread: string): readonly [string, (words: string) => void] {
  const [draft, setDraft] = useState(() => window.sessionStorage.getItem(keyOf(thread)) ?? "");
  const keep = useCallback(
    (words: string) => {
      setDraft(words);
      if (words) window.sessionStorage.setItem(keyOf(thread), words);
      else window.sessionStorage.removeItem(keyOf(thread));
    },
    [thread],
  );
  return [draft, keep];
}

/** The address names a conversation that this user does not have. */
import { useEffect, useRef } from "react";
import { refresh } from "../threads";

export function NotFound({ begin }: { begin: () => void }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    void refresh(); // the list is the way on
  }, []);
  return (
    <div className="conversation" data-running={false}>
      <div className="scroll">
        <div className="sheet welcome missing">
          <h2 ref={heading} tabIndex={-1}>
            This conversation does not exist
          </h2>
          <p>
            The address may be incomplete, or the conversation belongs to another account. Choose one from the list, or
            start a new one.
          </p>
          <button type="button" className="primary" onClick={begin}>
            Start a new conversation
          </button>
        </div>
      </div>
    </div>
  );
}

/** What stands above the writing field: what went wrong, and that the conversation is nearly or quite full. */
import { roomNotice } from "../room";
import type { Link } from "./useLink";

interface NoticesProps {
  readonly link: Link;
  /** Messages that the conversation can still take; null if nothing limits them. */
  readonly room: number | null;
  /** What is being written. */
  readonly words: string;
  /** Starts a new conversation with it. */
  readonly goOn: () => void;
  /** To be called when a notice is gone, with the focus in it. */
  readonly done: () => void;
}

export function Notices({ link, room, words, goOn, done }: NoticesProps) {
  const { fault, dismiss } = link;
  const full = fault?.full === true;
  return (
    <>
      {fault && (
        <div className="fault" role="alert" data-kind={fault.kind}>
          <p>{fault.sentence}</p>
          {full && <GoOn words={words} goOn={goOn} />}
          {fault.kind !== "lost" && (
            <button
              type="button"
              onClick={() => {
                dismiss();
                done();
              }}
            >
              Dismiss
            </button>
          )}
        </div>
      )}
      {roomNotice(room) && !full && (
        <div className="room" role="status" data-left={room}>
          <p>{roomNotice(room)}</p>
          <GoOn words={words} goOn={goOn} />
        </div>
      )}
    </>
  );
}

function GoOn({ words, goOn }: { words: string; goOn: () => void }) {
  return (
    <button type="button" onClick={goOn}>
      {words.trim() ? "Take these words to a new conversation" : "Start a new conversation"}
    </button>
  );
}

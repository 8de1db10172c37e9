/** What went wrong, in words for the person at the screen, and whether the page can mend it by itself. */

/** `lost`: the page reconnects by itself. `refused`: nothing was done. `failed`: something may have been done. */
export type FaultKind = "lost" | "refused" | "failed";

export interface Fault {
  readonly kind: FaultKind;
  readonly sentence: string;
  /** Whether sending the same words again makes sense. */
  readonly again: boolean;
  /** The conversation takes nothing more; the words can go into a new one. */
  readonly full?: true;
}

const lost = (sentence: string): Fault => ({ kind: "lost", sentence, again: false });
const refused = (sentence: string, again: boolean): Fault => ({ kind: "refused", sentence, again });
const failed = (sentence: string): Fault => ({ kind: "failed", sentence, again: true });

const LOST = lost("The connection was lost. Reconnecting…");

/** By the code that the backend sends, as `error` of a refusal or as `code` of a RUN_ERROR. */
const BY_CODE: Readonly<Record<string, Fault>> = {
  thread_busy: lost("This conversation is being answered in another window. Joining it…"),
  INSTANCE_STOPPING: lost("The server was replaced by a new one in mid-answer. Reconnecting…"),
  TOKEN_EXPIRED: lost("Your sign-in is being renewed. Reconnecting…"),
  INTERRUPT_RESUME_REQUIRED: lost("An approval is open in this conversation. Fetching it…"),
  APPROVAL_PENDING: refused("Another person has to approve this first. Answer again once they did.", false),
  UNKNOWN_INTERRUPT: lost("This was answered in another window. Joining it…"),
  too_many_runs: refused("You have several answers under way. Wait for one to end, then send this again.", true),
  instance_full: refused("Many people are asking at the moment. Please send this again in a few seconds.", true),
  database_unavailable: refused("Our records cannot be reached at the moment. Please try again shortly.", true),
  identity_unavailable: refused("Your sign-in cannot be checked at the moment. Please try again shortly.", true),
  unauthenticated: refused("You are signed out. Reload the page to sign in again.", false),
  too_large: refused("That is too long to send. Please shorten it.", false),
  run_exists: refused("This was sent before. Reload the page to see the answer.", false),
  RUN_TIMEOUT: failed("This took too long and was stopped. Only the steps shown above were completed."),
  AGENT_ERROR: failed("Something went wrong on our side while answering. You can try again."),
  INSTANCE_LOST: failed("The server that was answering is gone. You can send that again."),
  NO_RESULT: failed("The answer ended before it was complete. You can try again."),
};

const BY_STATUS: Readonly<Record<number, Fault>> = {
  401: BY_CODE.unauthenticated as Fault,
  403: refused("You are not allowed to do this. Ask whoever looks after your account.", false),
  404: refused("The concierge is not available at this address. Reload the page.", false),
  413: BY_CODE.too_large as Fault,
  422: {
    ...refused("This conversation cannot take more messages. Go on in a new one; what you wrote is kept.", false),
    full: true,
  },
  429: refused("That was a bit quick. Please wait a few seconds and send it again.", true),
  502: LOST,
  503: refused("The service is busy. Please try again in a few seconds.", true),
  504: LOST,
};

interface Failure {
  readonly status?: unknown;
  readonly code?: unknown;
  readonly payload?: { readonly error?: unknown };
}

/** The fault behind an error that CopilotKit reports. What has neither status nor code never reached the backend. */
export function faultOf(error: unknown): Fault {
  const { status, code, payload } = (error ?? {}) as Failure;
  for (const key of [payload?.error, code]) {
    const known = typeof key === "string" && Object.hasOwn(BY_CODE, key) ? BY_CODE[key] : undefined;
    if (known) return known;
  }
  if (typeof status === "number") {
    return (
      BY_STATUS[status] ??
      (status >= 500
        ? failed("Something went wrong on our side. You can try again.")
        : refused("That could not be sent.", true))
    );
  }
  return typeof code === "string" ? (BY_CODE.AGENT_ERROR as Fault) : LOST;
}

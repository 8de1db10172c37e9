/** Where the backend is. The address is fixed when the bundle is built; a path means "the page's own origin". */

export const RUNTIME_URL = (import.meta.env.VITE_COPILOTKIT_RUNTIME_URL || "/copilotkit").replace(/\/+$/, "");
export const AGENT_ID = "default";

/** Whether the backend answers now. Never throws; gives up after `milliseconds`. */
export async function backendAnswers(milliseconds = 4000): Promise<boolean> {
  try {
    const answer = await fetch(`${RUNTIME_URL}/info`, { cache: "no-store", signal: AbortSignal.timeout(milliseconds) });
    return answer.ok;
  } catch {
    return false;
  }
}

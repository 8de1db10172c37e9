/** What pipelines have done, from the agents' state (`state.pipelines`, by tool call). Pure; trusts no shape. */

export type PipelineStatus = "running" | "done" | "failed" | "stopped";
export type PipelineStepStatus = PipelineStatus | "waiting";

export interface PipelineStep {
  readonly name: string;
  readonly status: PipelineStepStatus;
  /** A few words on the result. */
  readonly detail: string;
  /** How long it took; null before it has ended. */
  readonly seconds: number | null;
}

export interface Pipeline {
  readonly name: string;
  readonly subject: string;
  readonly status: PipelineStatus;
  readonly steps: readonly PipelineStep[];
}

export type Pipelines = ReadonlyMap<string, Pipeline>;

const STATUSES = new Set<unknown>(["running", "done", "failed", "stopped"]);
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};

function stepOf(value: unknown, live: boolean): PipelineStep[] {
  const { name, status, detail, started, finished } = fieldsOf(value);
  if (typeof name !== "string") return [];
  const known = (STATUSES.has(status) ? status : "waiting") as PipelineStepStatus;
  const took = Date.parse(textOf(finished)) - Date.parse(textOf(started));
  return [
    {
      name,
      status: known === "running" && !live ? "stopped" : known,
      detail: textOf(detail),
      seconds: Number.isFinite(took) ? Math.max(0, took / 1000) : null,
    },
  ];
}

/** The pipelines of a state; nothing is under way when no answer is (`live`). */
export function pipelinesOf(state: unknown, live: boolean): Pipelines {
  const found = new Map<string, Pipeline>();
  for (const [call, value] of Object.entries(fieldsOf(fieldsOf(state).pipelines))) {
    const { name, subject, status, steps } = fieldsOf(value);
    if (typeof name !== "string" || !Array.isArray(steps)) continue;
    const known = (STATUSES.has(status) ? status : "running") as PipelineStatus;
    found.set(call, {
      name,
      subject: textOf(subject),
      status: known === "running" && !live ? "stopped" : known,
      steps: steps.flatMap((step) => stepOf(step, live)),
    });
  }
  return found;
}

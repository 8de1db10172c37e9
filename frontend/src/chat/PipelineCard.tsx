/** How far a pipeline is: each step with its state, live and after a reload. Changes are read out by the status line. */
import type { Pipeline, PipelineStatus, PipelineStepStatus } from "../pipelines";
import { stepName } from "../words";

const OF_STEP: Readonly<Record<PipelineStepStatus, string>> = {
  waiting: "to do",
  running: "under way",
  done: "done",
  failed: "failed",
  stopped: "stopped",
};
const OF_ALL: Readonly<Record<PipelineStatus, string>> = {
  running: "Under way",
  done: "Complete",
  failed: "Failed",
  stopped: "Stopped",
};

/** How long a step took, if anybody noticed. */
const tookOf = (seconds: number | null): string =>
  seconds === null || seconds < 1 ? "" : `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;

/** What a screen reader is told while a pipeline goes on. */
export function progressOf(title: string, { steps }: Pipeline): string {
  const done = steps.filter((step) => step.status === "done").length;
  const now = steps.filter((step) => step.status === "running").map((step) => stepName(step.name));
  return `${title}: ${done} of ${steps.length} steps done${now.length ? `, now: ${now.join(", ")}` : ""}`;
}

export function PipelineCard({ title, pipeline }: { title: string; pipeline: Pipeline }) {
  const { steps, status } = pipeline;
  const done = steps.filter((step) => step.status === "done").length;
  return (
    <section className="pipeline" aria-label={title} data-state={status} data-tool={pipeline.name}>
      <header>
        <p className="pipeline-title">{title}</p>
        <p className="pipeline-state">
          {OF_ALL[status]}
          {status !== "done" && <span>{` · ${done} of ${steps.length}`}</span>}
        </p>
      </header>
      <ol aria-label="Steps">
        {steps.map((step) => (
          <li key={step.name} data-state={step.status} aria-current={step.status === "running" ? "step" : undefined}>
            <span className="step-title">{stepName(step.name)}</span>{" "}
            <span className="step-state">
              {step.status === "done" ? (
                <>
                  <span className="unseen">done</span> {[step.detail, tookOf(step.seconds)].filter(Boolean).join(" · ")}
                </>
              ) : (
                OF_STEP[step.status]
              )}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

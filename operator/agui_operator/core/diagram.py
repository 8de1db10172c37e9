"""Draws the transition table for docs/rollout.md: what a reader sees is what the operator does."""

from __future__ import annotations

from collections import defaultdict

from agui_operator.core.rollout import IN_FLIGHT, RESTING, TRANSITIONS, Event, Phase

_MEANING = {
    Phase.PENDING: "waits for a valid, permitted spec, a ready environment and the end of a freeze",
    Phase.RESOLVING: "tags become digests, `latest` becomes a secret version",
    Phase.BACKING_UP: "the database is backed up before the first DDL",
    Phase.MIGRATING: "the schema moves forward (expand), by a Cloud Run job of the release",
    Phase.PUBLISHING: "assets go into the pool, the html last",
    Phase.STAGING: "the revision is made at 0 %, with a tag of its own",
    Phase.SMOKING: "the checks run against the candidate at 0 %",
    Phase.PROGRESSING: "canary steps: weight, analysis, pause",
    Phase.PAUSED: "waits: for a person, for data, for the end of a freeze",
    Phase.PROMOTING: "all traffic, then the release pointer",
    Phase.BAKING: "the checks run once more where users are; alert policies are set",
    Phase.HEALTHY: "the release is the stable one; drift is corrected",
    Phase.ROLLING_BACK: "traffic and pointer go back to stable, together",
    Phase.ROLLED_BACK: "stable serves; the release is rejected until the spec changes or a retry is asked for",
    Phase.FAILED: "rejected, and nothing of it was ever public",
    Phase.SUSPENDED: "`spec.suspend`: no rollout begins",
}

_CAUSE = {
    Event.STARTED: "the spec is new, valid and permitted",
    Event.SUCCEEDED: "what the phase wants is true",
    Event.ALREADY_STABLE: "the spec is that of the stable release",
    Event.STILL_REJECTED: "the spec is that of the rejected release",
    Event.STEP_PASSED: "the canary step is over",
    Event.ALL_STEPS_PASSED: "no canary step is left, or `promote-full` was asked for",
    Event.HELD: "a pause step, a freeze, `spec.suspend`, an analysis without a verdict, or `pause` was asked for",
    Event.RESUMED: "what held it is over, or `resume` was asked for",
    Event.CHECK_FAILED: "a backup, migration, revision, check or analysis failed",
    Event.DEADLINE_EXCEEDED: "no progress for `spec.strategy.progressDeadline`",
    Event.SPEC_CHANGED: "the spec asks for another release, or is not valid any more",
    Event.ABORTED: "`abort` was asked for, or a permission was withdrawn",
    Event.RETRIED: "`retry` was asked for",
    Event.UNDONE: "`undo` was asked for",
    Event.SUSPENDED: "`spec.suspend` is set",
    Event.RESTORED: "stable has all traffic, the release pointer and its alert policies",
    Event.NOTHING_PUBLIC: "there is no stable release, and nothing of this one can be reached",
}


def render() -> str:
    """The whole of docs/rollout.md."""
    return "\n".join([_HEAD, "```mermaid", *_diagram(), "```", "", *_phases(), "", *_events(), "", *_table(), ""])


_HEAD = """# The rollout

Generated from the table in `operator/agui_operator/core/rollout.py` by `make generate`. A phase change that is not
here does not exist; a test visits every world that the table can lead to.
"""


def _diagram() -> list[str]:
    lines = ["stateDiagram-v2", "  [*] --> Pending"]
    for phase, row in TRANSITIONS.items():
        events = defaultdict(list)
        for event, target in row.items():
            events[target].append(str(event))
        lines += [f"  {phase} --> {target}: {', '.join(names)}" for target, names in events.items()]
    return lines


def _phases() -> list[str]:
    lines = ["| phase | kind | what happens |", "| --- | --- | --- |"]
    for phase in Phase:
        kind = "in flight" if phase in IN_FLIGHT else "resting" if phase in RESTING else "on the way"
        lines.append(f"| {phase} | {kind} | {_MEANING[phase]} |")
    return lines


def _events() -> list[str]:
    lines = ["| event | what it means |", "| --- | --- |"]
    return [*lines, *(f"| {event} | {_CAUSE[event]} |" for event in Event)]


def _table() -> list[str]:
    lines = ["| phase | event | next |", "| --- | --- | --- |"]
    lines += [f"| {p} | {e} | {target} |" for p, row in TRANSITIONS.items() for e, target in row.items()]
    return lines

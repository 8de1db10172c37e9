"""Renders docs/rollout.md from the transition table."""

from __future__ import annotations

from collections import defaultdict

from agui_operator.core.rollout import PHASES, TRANSITIONS, Event

_CAUSE = {
    Event.STARTED: "the spec is new, valid and permitted",
    Event.SUCCEEDED: "the phase has reached its goal",
    Event.ALREADY_STABLE: "the spec is that of the stable release",
    Event.STILL_REJECTED: "the spec is that of the rejected release",
    Event.STEP_PASSED: "the canary step is over",
    Event.ALL_STEPS_PASSED: "no canary step is left, or `promote-full` was requested",
    Event.HELD: "a pause step, a freeze, `spec.suspend`, an analysis without a verdict, or `pause` was requested",
    Event.RESUMED: "the hold has ended, or `resume` was requested",
    Event.CHECK_FAILED: "a backup, migration, revision, check or analysis failed, or an undo lacks what it needs",
    Event.DEADLINE_EXCEEDED: "no progress for `spec.strategy.progressDeadline`, or for 10 minutes of an undo",
    Event.SPEC_CHANGED: "the spec requires another release, or is no longer valid",
    Event.ABORTED: "`abort` was requested, or a permission was withdrawn",
    Event.RETRIED: "`retry` was requested",
    Event.UNDONE: "`undo` was requested",
    Event.SUSPENDED: "`spec.suspend` is set",
    Event.RESTORED: "stable has all traffic, the release pointer and its alert policies",
    Event.NOTHING_PUBLIC: "there is no stable release, and this one can't be reached by users",
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
    return [*lines, *(f"| {phase} | {spec.kind} | {spec.meaning} |" for phase, spec in PHASES.items())]


def _events() -> list[str]:
    lines = ["| event | what it means |", "| --- | --- |"]
    return [*lines, *(f"| {event} | {_CAUSE[event]} |" for event in Event)]


def _table() -> list[str]:
    lines = ["| phase | event | next |", "| --- | --- | --- |"]
    lines += [f"| {p} | {e} | {target} |" for p, row in TRANSITIONS.items() for e, target in row.items()]
    return lines

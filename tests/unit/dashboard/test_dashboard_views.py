"""What the pages are made of: tones and order, weights, the way of a release, commands, curves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agui_operator.core.analysis import Limit, Sample, Window
from agui_operator.core.memory import HistoryEntry, Memory, to_status
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase
from agui_operator.core.waiting import NO_ACTION
from agui_operator.dashboard.board import LINES, MEASUREMENTS, Board, Entry
from agui_operator.dashboard.chart import HEIGHT, WIDTH, charts, show
from agui_operator.dashboard.details import parts_of
from agui_operator.dashboard.facts import items, mapping, moment, number, text
from agui_operator.dashboard.measurements import ceiling, measurement
from agui_operator.dashboard.rows import Tone, arrange, asked_weight, row_of
from agui_operator.dashboard.timeline import Mark, commands, timeline
from dashboard_objects import NOW, body, status

Json = dict[str, Any]
UID = "uid-demo-shop"
FULL: Json = {"migrations": {"backup": "Always"}, "frontend": {"bundle": {}}, "smoke": [{"name": "a", "http": {}}]}


def entry(phase: str, spec: Json | None = None, **parts: Any) -> Entry:
    """An object in a phase."""
    board = Board()
    board.seen(body(**(FULL if spec is None else spec)))
    board.status_written("demo", "shop", UID, status(phase, **parts))
    found = board.find("demo", "shop")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("phase", "tone"),
    [
        ("Healthy", Tone.FINE),
        ("Progressing", Tone.MOVING),
        ("Baking", Tone.MOVING),
        ("Paused", Tone.WAITING),
        ("Suspended", Tone.WAITING),
        ("RollingBack", Tone.STOPPED),
        ("RolledBack", Tone.STOPPED),
        ("Failed", Tone.STOPPED),
        ("Pending", Tone.IDLE),
    ],
)
def test_the_tone_says_how_much_a_person_is_needed(phase: str, tone: Tone) -> None:
    assert row_of(entry(phase)).tone is tone


def test_a_stall_and_a_fault_count_more_than_the_phase() -> None:
    stalled = [{"type": "Stalled", "status": "True"}, {"type": "Ready", "status": "False", "reason": "NotPermitted"}]
    row = row_of(entry("Pending", conditions=stalled))
    assert (row.tone, row.reason) == (Tone.STOPPED, "NotPermitted")
    unsure = [{"type": "Ready", "status": "Unknown", "reason": "CloudUnavailable"}]
    row = row_of(entry("Healthy", conditions=unsure))
    assert (row.tone, row.reason) == (Tone.WAITING, "CloudUnavailable")


def test_every_phase_has_a_tone_and_a_page() -> None:
    for phase in Phase:
        shown = entry(str(phase))
        assert row_of(shown).phase == phase
        assert parts_of(shown)["way"]["stages"]


def test_equal_needs_are_in_the_order_of_their_names() -> None:
    board = Board()
    for name in ("b", "c", "a"):
        board.seen(body(name))
    assert [row.name for row in arrange(row_of(e) for e in board.entries)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("phase", "step", "asked"),
    [
        ("Staging", 0, 0),
        ("Progressing", 0, 10),
        ("Progressing", 1, 10),
        ("Progressing", 2, 50),
        ("Paused", 3, 50),
        ("Progressing", 4, 50),
        ("Promoting", 4, 100),
        ("Healthy", 4, 100),
        ("RollingBack", 2, 0),
        ("Suspended", 0, None),
    ],
)
def test_the_weight_that_is_asked_for_follows_the_steps(phase: str, step: int, asked: int | None) -> None:
    assert asked_weight(entry(phase, rollout={"step": step})) == asked


def marks(shown: Entry) -> dict[str, Mark]:
    return {stage.name: stage.mark for stage in timeline(shown)}


def test_the_way_marks_what_is_done_and_what_is_ahead() -> None:
    stages = timeline(entry("Progressing", rollout={"step": 1}))
    assert [s.mark for s in stages] == [Mark.DONE] * 6 + [Mark.CURRENT] + [Mark.AHEAD] * 3
    canary = stages[6].steps
    assert [s.mark for s in canary] == [Mark.DONE, Mark.CURRENT, Mark.AHEAD, Mark.AHEAD]
    assert [s.what for s in canary] == [
        "10 % of the traffic",
        "Verdict of the analysis",
        "50 % of the traffic",
        "Pause until manual promotion",
    ]


def test_the_way_of_a_release_that_was_taken_back_ends_where_it_failed() -> None:
    cause = {"phase": "Smoking", "reason": "SmokeFailed", "message": "agent said no"}
    stages = timeline(entry("RolledBack", rollout={"cause": cause}))
    failed = [s for s in stages if s.mark is Mark.FAILED]
    assert [(s.name, s.detail) for s in failed] == [("Smoking", "SmokeFailed: agent said no")]
    assert [s.mark for s in stages[6:10]] == [Mark.SKIPPED] * 4
    assert (stages[-1].name, stages[-1].mark) == ("RolledBack", Mark.DONE)


def test_a_canary_that_failed_shows_the_step() -> None:
    cause = {"phase": "Progressing", "reason": "AnalysisFailed", "message": "m"}
    stages = timeline(entry("RollingBack", rollout={"cause": cause, "step": 2}))
    assert [s.mark for s in stages[6].steps] == [Mark.DONE, Mark.DONE, Mark.FAILED, Mark.SKIPPED]
    assert stages[-1].mark is Mark.CURRENT


def test_a_part_that_the_spec_leaves_out_is_not_called_done() -> None:
    bare = marks(entry("Healthy", {"strategy": {}}))
    left_out = {"BackingUp", "Migrating", "Publishing", "Smoking", "Progressing"}
    assert {name for name, mark in bare.items() if mark is Mark.SKIPPED} == left_out
    never = marks(entry("Healthy", FULL | {"migrations": {"backup": "Never"}}))
    assert (never["BackingUp"], never["Migrating"]) == (Mark.SKIPPED, Mark.DONE)


@pytest.mark.parametrize(
    ("phase", "kinds"),
    [
        ("Progressing", {"promote", "promote-full", "pause", "abort"}),
        ("Paused", {"promote", "promote-full", "resume", "abort"}),
        ("RolledBack", {"retry"}),
        ("Suspended", set()),
        ("Healthy", set()),
        ("NoSuchPhase", set()),
    ],
)
def test_only_commands_that_can_do_something_are_offered(phase: str, kinds: set[str]) -> None:
    lines = [c.line for c in commands(entry(phase))]
    assert {line.rpartition("agui.dev/")[2].removesuffix("=true") for line in lines if "annotate" in line} == kinds
    assert "kubectl -n demo describe agd shop" in lines


def test_undo_is_offered_when_there_is_a_release_to_go_back_to() -> None:
    older = HistoryEntry(Release("older", "a", "f", "1", "img@sha256:a"), "Promoted", "Promoted", NOW, 1)
    past = to_status(Memory(history=(older,)))["history"]
    assert any("undo" in c.line for c in commands(entry("Healthy", history=past)))


def test_the_strictest_limit_is_drawn() -> None:
    stable = Sample(100, 2, None, 200.0)
    assert ceiling(Limit("error-rate", max=0.05, max_above_stable=0.01), stable) == pytest.approx(0.03)
    assert ceiling(Limit("latency-p95", max=900, max_ratio_to_stable=1.5), stable) == 300
    assert ceiling(Limit("latency-p95", max_ratio_to_stable=1.5), None) is None
    assert ceiling(Limit("latency-p95", max=250, max_above_stable=100), Sample()) == 250


def test_a_curve_stays_inside_its_box_and_breaks_where_nothing_was_measured() -> None:
    limit = (Limit("latency-p95", max=100),)
    values = (10.0, 400.0, None, 50.0)
    looks = [
        measurement("r", NOW + timedelta(seconds=n), Window(Sample(9, 0, None, value), None, 1, limit))
        for n, value in enumerate(values)
    ]
    (chart,) = charts(looks)
    assert len(chart.candidate) == 2
    points = [tuple(map(float, p.split(","))) for line in (*chart.candidate, *chart.limit) for p in line.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert chart.summary == "latency-p95: candidate 50 ms, limit 100 ms"
    assert (chart.begin, chart.end, chart.over) == (NOW, NOW + timedelta(seconds=3), False)
    assert charts([]) == []


def test_one_look_is_drawn_too() -> None:
    window = Window(Sample(9, 9), None, 1, (Limit("error-rate", max=0.5),))
    (chart,) = charts([measurement("r", NOW, window)])
    assert chart.over
    assert [len(line.split()) for line in chart.candidate] == [2]
    assert show("error-rate", 0.0123) == "1.23 %"


def test_what_is_kept_is_bounded_and_belongs_to_one_release() -> None:
    board = Board()
    board.seen(body())
    window = Window(Sample(9), None, 1, (Limit("error-rate", max=0.5),))
    for count in range(MEASUREMENTS * 2):
        board.measured(UID, "old", NOW, window)
        board.noted(UID, NOW, "Normal", "r", str(count))
    found = board.find("demo", "shop")
    assert found is not None
    assert (len(found.measurements), len(found.lines)) == (MEASUREMENTS, LINES)
    assert found.lines[0].message == str(MEASUREMENTS * 2 - 1)
    board.measured(UID, "new", NOW, window)
    assert [m.release for m in found.measurements] == ["new"]


def test_a_watch_event_never_brings_an_older_status_back() -> None:
    board = Board()
    board.seen(body() | {"status": status("Staging")})
    board.status_written("demo", "shop", UID, status("Smoking"))
    revision = board.revision
    board.seen(body() | {"status": status("Staging")})
    assert board.revision == revision, "what this process wrote itself is no news"
    board.seen(body(generation=2) | {"status": status("Staging")})
    found = board.find("demo", "shop")
    assert found is not None
    assert (found.generation, text(found.status, "phase")) == (2, "Smoking")


def test_an_object_made_again_under_its_name_is_another() -> None:
    board = Board()
    board.seen(body(uid="first"))
    board.seen(body(uid="second"))
    board.gone("first")
    found = board.find("demo", "shop")
    assert found is not None
    assert found.uid == "second"
    board.gone("second")
    board.gone("second")
    board.noted("second", NOW, "Normal", "r", "m")
    assert board.find("demo", "shop") is None
    assert board.entries == ()


@pytest.mark.parametrize("broken", [None, 7, "text", [], ["a"], {"phase": []}, {"rollout": 3, "history": {"a": 1}}])
def test_a_document_of_another_shape_is_shown_as_far_as_it_goes(broken: Any) -> None:
    board = Board()
    document = body()
    document["spec"] = {"strategy": broken, "smoke": broken}
    board.seen(document)
    written = broken if isinstance(broken, dict) else {"rollout": broken, "conditions": broken, "stable": broken}
    board.status_written("demo", "shop", UID, written)
    (found,) = board.entries
    assert row_of(found).name == "shop"
    assert parts_of(found)["headline"]


def test_facts_are_read_without_trust() -> None:
    document = {"a": {"b": [1, {"c": True}]}, "n": 3, "t": "2026-11-23T08:00:00Z", "bad": "yesterday"}
    assert [dict(item) for item in items(document, "a", "b")] == [{"c": True}]
    assert (number(document, "n"), number(document, "a"), number({"x": True}, "x")) == (3, None, None)
    assert (moment(document, "t"), moment(document, "bad"), moment(document, "n")) == (NOW, None, None)
    assert (mapping(document, "n"), text(document, "a"), text(document, "n")) == ({}, "", "3")


def tones(shown: Entry) -> dict[str, str]:
    return {c["type"]: str(c["tone"]) for c in parts_of(shown)["conditions"]["conditions"]}


@pytest.mark.parametrize(
    ("phase", "kind", "truth", "reason", "tone"),
    [
        ("RolledBack", "Stalled", "True", "SmokeFailed", Tone.STOPPED),
        ("Healthy", "Stalled", "False", "NotStalled", Tone.IDLE),
        ("RolledBack", "Ready", "False", "SmokeFailed", Tone.STOPPED),
        ("Progressing", "Ready", "False", "Progressing", Tone.MOVING),
        ("Healthy", "Ready", "True", "Healthy", Tone.FINE),
        ("Progressing", "Reconciling", "True", "Progressing", Tone.MOVING),
        ("Healthy", "Reconciling", "False", "NotReconciling", Tone.IDLE),
        ("RolledBack", "SmokePassed", "False", "SmokeFailed", Tone.STOPPED),
        ("Healthy", "DriftFree", "False", "Drifted", Tone.STOPPED),
        ("Healthy", "DriftFree", "True", "InSync", Tone.FINE),
        ("Healthy", "DriftFree", "Unknown", "NotCompared", Tone.IDLE),
        ("Healthy", "Migrated", "True", "NotRequested", Tone.IDLE),
        ("Paused", "Paused", "True", "AwaitingPromotion", Tone.WAITING),
        ("Healthy", "Paused", "False", "NotPaused", Tone.IDLE),
        ("Staging", "RevisionReady", "Unknown", "InProgress", Tone.MOVING),
        ("Staging", "Promoted", "Unknown", "NotStarted", Tone.IDLE),
    ],
)
def test_the_tone_of_a_condition_is_what_it_means(phase: str, kind: str, truth: str, reason: str, tone: Tone) -> None:
    conditions = [{"type": kind, "status": truth, "reason": reason}]
    if kind == "Reconciling":
        conditions.append({"type": "Ready", "status": "True"})
    assert tones(entry(phase, conditions=conditions))[kind] == tone


def test_a_release_that_another_one_replaced_did_not_fail() -> None:
    past = [{"outcome": outcome} for outcome in ("Promoted", "Superseded", "RolledBack", "Failed")]
    shown = parts_of(entry("Healthy", history=past))["history"]["past"]
    assert [one.tone for one in shown] == [Tone.FINE, Tone.IDLE, Tone.STOPPED, Tone.STOPPED]


UNTIL = "2026-11-23T08:30:00Z"
PROMOTE = "annotate agui.dev/promote=true"
FROZEN = [{"type": "SpecAccepted", "status": "False", "reason": "Frozen"}]


@pytest.mark.parametrize(
    ("phase", "rollout", "unblock", "parts", "words"),
    [
        ("BackingUp", {"deadline": UNTIL}, NO_ACTION, {}, "Rolled back automatically if not complete by"),
        ("BackingUp", {"deadline": UNTIL}, "", {"stable": None}, "Fails automatically if not complete by"),
        ("Progressing", {"step": 1}, PROMOTE, {}, "Without a verdict, pauses automatically at"),
        ("Progressing", {"step": 3}, PROMOTE, {}, "Continues automatically at"),
        ("Progressing", {"step": 9}, PROMOTE, {}, "Without a verdict, pauses automatically at"),
        ("Staging", {"deadline": "2026-11-23T09:00:00Z"}, "retried", {}, "Retried automatically at"),
        ("Paused", {}, "the freeze ends", {"conditions": FROZEN}, "Ends automatically at"),
    ],
)
def test_what_happens_at_a_deadline_is_said(phase: str, rollout: Json, unblock: str, parts: Json, words: str) -> None:
    waiting = {"what": "w", "until": UNTIL, "unblockWith": unblock}
    shown = parts_of(entry(phase, rollout=rollout, waitingFor=waiting, **parts))["headline"]["wait"]
    assert (shown["deadline"], shown["until"]) == (words, moment({"t": UNTIL}, "t"))
    assert shown["next"] == ("" if unblock == NO_ACTION else unblock)


def test_without_a_verdict_the_policy_of_the_spec_decides() -> None:
    for policy, verb in {"Hold": "pauses", "RollBack": "rolls back", "PromoteAfter": "continues"}.items():
        canary = {"steps": [{"analysis": {}}], "analysis": {"inconclusive": policy}}
        waiting = {"what": "w", "until": UNTIL, "unblockWith": PROMOTE}
        shown = entry("Progressing", {"strategy": {"canary": canary}}, waitingFor=waiting)
        assert parts_of(shown)["headline"]["wait"]["deadline"] == f"Without a verdict, {verb} automatically at"


def test_the_traffic_of_stable_is_what_the_candidate_does_not_receive() -> None:
    roles = [facts.role for facts in parts_of(entry("Progressing", rollout={"weight": 10}))["releases"]["releases"]]
    assert roles == ["Stable: receives 90 % of the traffic", "Candidate"]
    roles = [facts.role for facts in parts_of(entry("RolledBack", rollout={"weight": 0}))["releases"]["releases"]]
    assert roles[0] == "Stable: receives 100 % of the traffic"


def test_measurements_of_an_earlier_release_are_named_as_such() -> None:
    board = Board()
    board.seen(body())
    board.status_written("demo", "shop", UID, status("Progressing"))
    shown = board.find("demo", "shop")
    assert shown is not None
    for release, earlier in (("aaaa1111", True), ("bbbb2222", False)):
        board.measured(UID, release, NOW, Window(Sample(9), None, 1, (Limit("error-rate", max=0.5),)))
        assert parts_of(shown)["analysis"]["earlier"] is earlier

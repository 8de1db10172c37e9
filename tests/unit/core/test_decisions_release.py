"""From the samples that people apply to releases, blueprints, blockers, forecasts and statuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.api.strategy import CanaryStep, Pause
from agui_operator.core import memory as memories
from agui_operator.core.actions import (
    Action,
    AlertCreated,
    AlertDeleted,
    AlertPolicy,
    AlertUpdated,
    JobDeleted,
    PointerSet,
    RevisionStaged,
    ServiceDeleted,
    describe,
    to_json,
)
from agui_operator.core.blockers import blockers, place_of
from agui_operator.core.blueprint import CANDIDATE, PROMOTED, Blueprint, build_blueprint
from agui_operator.core.environment import Edge
from agui_operator.core.errors import Fault
from agui_operator.core.fingerprint import fingerprint_of
from agui_operator.core.forecast import forecast
from agui_operator.core.memory import (
    Acknowledged,
    Cause,
    HeldBy,
    HistoryEntry,
    Memory,
    Obeyed,
    Rejected,
    begin_attempt,
)
from agui_operator.core.names import Names
from agui_operator.core.past import Promotion
from agui_operator.core.release import Release, Resolved, make_release
from agui_operator.core.requests import parse as parse_request
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import AnalysisResult, Blocker, CheckResult, Request, RequestKind, Snapshot, Verdict
from agui_operator.core.status import Asked, FaultSeen, Inputs, summarize
from agui_operator.core.steps import begin
from world_model import FIRST, SECOND, STEPS, start_second

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = Names("demo", "concierge", "uid-1", "demo", "us-central1")


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "manifests/samples" / name).read_text())["spec"]
    return loaded


SPEC = parse_deployment(sample("release-v2.yaml"))
ENVIRONMENT = parse_environment(sample("environment.yaml"))
POLICY = parse_policy(sample("policy.yaml"))
PLACE = place_of(ENVIRONMENT)
RESOLVED = Resolved("img@sha256:1", "img@sha256:1", {"DB_PASSWORD": "3"}, "ab" * 32)
RELEASE = make_release(SPEC, RESOLVED, NAMES.owner)
PLAN = build_blueprint(SPEC, NAMES, PLACE, RELEASE)


def edited(**changes: Any) -> Any:
    return parse_deployment({**sample("release-v2.yaml"), **changes})


# --- releases and blueprints -----------------------------------------------------------------------------------------


def test_a_release_id_changes_with_what_it_is_made_of_and_with_nothing_else() -> None:
    assert make_release(SPEC, RESOLVED, NAMES.owner) == RELEASE
    assert make_release(SPEC, replace(RESOLVED, secrets={"DB_PASSWORD": "4"}), NAMES.owner).id != RELEASE.id
    assert make_release(SPEC, replace(RESOLVED, secrets={"DB_PASSWORD": "4"}), NAMES.owner).artifact == RELEASE.artifact
    assert fingerprint_of(edited(version="9.9.9", suspend=True, strategy={})) == RELEASE.fingerprint
    backend = sample("release-v2.yaml")["backend"] | {"timeoutSeconds": 60}
    assert fingerprint_of(edited(backend=backend)) != RELEASE.fingerprint


def test_a_second_try_gets_an_id_of_its_own() -> None:
    first = begin_attempt(Memory(), RELEASE)
    again = begin_attempt(first, RELEASE)
    third = begin_attempt(again, RELEASE)
    tried = [memory.candidate.id for memory in (first, again, third) if memory.candidate is not None]
    assert tried == [RELEASE.id, f"{RELEASE.id}-2", f"{RELEASE.id}-3"]


def test_the_blueprint_holds_what_the_spec_says() -> None:
    container = PLAN.revision.container
    assert container.image == "img@sha256:1"
    assert container.service_account == "concierge-runtime@demo.iam.gserviceaccount.com"
    assert container.env["AGUI_RELEASE"] == RELEASE.id
    assert [(s.env, s.version) for s in container.secrets] == [("DB_PASSWORD", "3")]
    assert container.sql_instances == ("demo:us-central1:main",)
    assert PLAN.migration is not None
    assert PLAN.migration.container.args[:2] == ("upgrade", "head")
    assert PLAN.backup_instance == "main"
    assert PLAN.runtime_url == "/copilotkit"
    assert set(PLAN.check_jobs) == {(CANDIDATE, "records")}
    assert "records" not in {c.name for c in PLAN.checks(PROMOTED)}


def test_a_spec_without_parts_gives_a_blueprint_without_them() -> None:
    spec = edited(migrations=None, frontend=None, smoke=[{"name": "e2e", "job": {"image": "h.io/a/b:1"}}], strategy={})
    spec = spec.model_copy(update={"alerts": None})
    release = make_release(spec, replace(RESOLVED, bundle_sha256=None, migration_image=None), NAMES.owner)
    bare = replace(PLACE, edge=None, sql_instance=None)
    plan = build_blueprint(spec, NAMES, bare, release)
    assert (plan.migration, plan.backup_instance, plan.bundle, plan.pointer, plan.analysis) == (None,) * 5
    assert plan.steps == ()
    assert set(plan.check_jobs) == {(CANDIDATE, "e2e"), (PROMOTED, "e2e")}
    assert plan.revision.container.sql_instances == ()
    assert release.alerts == {}


def test_backups_and_arguments_can_be_chosen() -> None:
    migrations = {"backup": "Never", "args": ["stamp"], "command": ["x"]}
    spec = edited(migrations=migrations)
    plan = build_blueprint(spec, NAMES, PLACE, make_release(spec, RESOLVED, NAMES.owner))
    assert plan.backup_instance is None
    assert plan.migration is not None
    assert plan.migration.container.args == ("stamp",)
    account = sample("release-v2.yaml")["backend"] | {
        "serviceAccount": "runtime@project.iam.gserviceaccount.com",
        "probes": {},
    }
    other = edited(backend=account)
    revision = build_blueprint(other, NAMES, PLACE, make_release(other, RESOLVED, NAMES.owner)).revision
    assert revision.container.service_account == "runtime@project.iam.gserviceaccount.com"
    assert revision.startup is None


def test_an_edge_knows_its_origin() -> None:
    edge = Edge("app.acme.example", "m", "b", "s", ())
    assert (edge.origin, replace(edge, domain="http://h:1/").origin) == ("https://app.acme.example", "http://h:1")


# --- blockers and requests -------------------------------------------------------------------------------------------


def reasons(spec: Any = SPEC, environment: Any = ENVIRONMENT, policies: Any = (POLICY,)) -> list[str]:
    return [b.reason for b in blockers(spec, environment, None, "demo", policies, NOW)]


def test_nothing_stands_in_the_way_of_the_samples() -> None:
    assert reasons() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"policies": ()}, ["NotPermitted"], id="no policy, no deploy"),
        pytest.param({"environment": None}, ["EnvironmentNotReady"], id="no environment"),
        pytest.param({"spec": edited(suspend=True)}, ["Suspended"], id="suspended"),
        pytest.param(
            {"environment": parse_environment({"projectId": "demo", "region": "us-central1"})},
            ["EnvironmentIncomplete"],
            id="an environment without the parts",
        ),
        pytest.param(
            {"spec": edited(alerts={"errorRate": 0.1, "channels": ["pager"]})},
            ["EnvironmentIncomplete"],
            id="an unknown channel",
        ),
        pytest.param(
            {"policies": (POLICY, parse_policy(sample("policy.yaml") | {"stop": {"active": True}}))},
            ["Frozen"],
            id="the stop button",
        ),
    ],
)
def test_blockers(change: dict[str, Any], expected: list[str]) -> None:
    assert reasons(**change) == expected


def test_channels_are_looked_up_and_an_edge_is_optional() -> None:
    raw = sample("environment.yaml") | {
        "observability": {"channels": [{"name": "oncall", "resource": "projects/demo/notificationChannels/1"}]}
    }
    raw.pop("edge")
    environment = parse_environment(raw)
    place = place_of(environment)
    assert (place.channels, place.edge) == ({"oncall": "projects/demo/notificationChannels/1"}, None)
    assert place_of(parse_environment({"projectId": "demo", "region": "us-central1"})).assets_bucket == ""


def test_of_several_requests_the_most_urgent_is_read_first() -> None:
    assert parse_request({}) == ()
    asked = {"agui.dev/promote": "true", "agui.dev/abort": "true", "other": "x"}
    abort, promote = Request(RequestKind.ABORT, "true"), Request(RequestKind.PROMOTE, "true", kept=True)
    assert parse_request(asked, {"agui.dev/promote"}) == (abort, promote)


# --- memory and status -----------------------------------------------------------------------------------------------

REJECTED = Rejected("f", "r", "1", "SmokeFailed", "m", NOW)
CAUSE = Cause("SmokeFailed", "it broke", Phase.SMOKING, NOW)
FULL = Memory(
    phase=Phase.ROLLING_BACK,
    since=NOW,
    started=NOW,
    step=2,
    held_by=HeldBy.STEP,
    candidate=RELEASE,
    stable=FIRST,
    undo_to=FIRST,
    cause=CAUSE,
    rejected=REJECTED,
    verdicts={"a": CheckResult("a", True, "ok", 1.5, 200, "d1"), "b": CheckResult("b", None)},
    held_since=NOW,
    weight_since=NOW,
    obeyed=(Obeyed("promote", "2", "fp", NOW, True), Obeyed("pause", "true", "fp", NOW)),
    analysis=AnalysisResult(Verdict.PASSED, "fine", {"error-rate": 0.5}),
    history=(HistoryEntry(FIRST, "Promoted", "Promoted", NOW, 2.0),),
    promoted=(Promotion(FIRST, NOW, "0000", {"ready": {"http": {"path": "/readyz"}}}),),
    attempts={"bbbb": 2, "aaaa": 1},
    acknowledged=Acknowledged("abort", "true", True, "ok", NOW),
)


EDITED = replace(
    FULL,
    walk=begin((CanaryStep(set_weight=5), CanaryStep(pause=Pause(duration=timedelta(minutes=5))), *STEPS)),
)


def test_what_was_obeyed_survives_damage_of_a_part() -> None:
    status = memories.to_status(EDITED)
    status["rollout"]["obeyed"] = [{"kind": "promote"}, "x", None, *status["rollout"]["obeyed"]]
    assert memories.from_status(status) == EDITED


@pytest.mark.parametrize("memory", [FULL, EDITED], ids=["full", "edited"])
def test_memory_survives_the_status(memory: Memory) -> None:
    assert memories.from_status(memories.to_status(memory)) == memory
    assert memories.from_status(memories.to_status(Memory())) == Memory()


@pytest.mark.parametrize(
    "damage",
    [
        None,
        "text",
        {"phase": "Nonsense", "rollout": 5, "history": [5, {}], "rejected": 1, "lastRequest": 2, "release": {"id": ""}},
        {"rollout": {"cause": {"at": "never", "phase": "Smoking"}, "analysis": {"verdict": "?"}, "since": "x"}},
        {"history": [{"release": {"id": "a", "backend": "b"}, "at": "x"}], "rollout": {"cause": {"phase": "?"}}},
    ],
)
def test_a_status_damaged_by_hand_is_read_as_far_as_it_goes(damage: Any) -> None:
    assert memories.from_status(damage) == Memory()


def status_of(memory: Memory, **more: Any) -> dict[str, Any]:
    plan = more.pop("plan", PLAN if memory.phase in IN_FLIGHT else None)
    asked = more.pop("asked", Asked(FIRST.fingerprint if memory.phase is Phase.HEALTHY else REJECTED.fingerprint))
    previous = more.pop("previous", {})
    return summarize(Inputs(memory=memory, generation=3, now=NOW, previous=previous, asked=asked, plan=plan, **more))


def truth(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_all_conditions_and_never_reconciles_and_stalls_at_once(phase: Phase) -> None:
    memory = replace(FULL, phase=phase, undo_to=None)
    status = status_of(memory)
    conditions = truth(status)
    assert len(conditions) == 16
    assert not conditions["Reconciling"] == conditions["Stalled"] == "True"
    assert all(c["observedGeneration"] == 3 and c["reason"] and c["message"] for c in status["conditions"])
    assert (conditions["Ready"] == "True") == (phase is Phase.HEALTHY)
    if phase is not Phase.HEALTHY and phase is not Phase.SUSPENDED and phase is not Phase.PENDING:
        assert status["waitingFor"]["unblockWith"]


def test_the_same_inputs_write_nothing_new() -> None:
    first, asked = status_of(FULL), Asked(REJECTED.fingerprint)
    later = Inputs(memory=FULL, generation=3, now=NOW + timedelta(hours=1), previous=first, asked=asked)
    assert summarize(later) == first


def test_a_failed_release_says_what_failed_and_that_stable_serves() -> None:
    memory = replace(FULL, phase=Phase.ROLLED_BACK, candidate=None, undo_to=None)
    status = status_of(memory)
    conditions = truth(status)
    assert (conditions["SmokePassed"], conditions["Promoted"], conditions["Migrated"]) == ("False", "False", "True")
    assert "serves all traffic" in status["message"]
    alone = status_of(replace(memory, phase=Phase.FAILED, stable=None))
    assert "It never received user traffic" in alone["message"]


FAULT = FaultSeen(Fault.TRANSIENT, "CloudUnavailable", "503", 2, NOW)
BLOCK = Blocker("SpecAccepted", "Frozen", "a freeze", "wait", until="2026-01-02T00:00:00Z", holds_running=True)


@pytest.mark.parametrize(
    ("status", "ready", "reason", "waits"),
    [
        pytest.param(status_of(Memory(), spec_error="spec.x: bad"), "False", "InvalidSpec", "a valid", id="invalid"),
        pytest.param(status_of(Memory(), blockers=(BLOCK,)), "False", "Frozen", "a freeze", id="blocked"),
        pytest.param(
            status_of(replace(FULL, phase=Phase.MIGRATING), fault=FAULT), "False", "CloudUnavailable", "503", id="fault"
        ),
        pytest.param(
            status_of(replace(FULL, phase=Phase.MIGRATING), fault=replace(FAULT, fault=Fault.USER, reason="NotOwned")),
            "False",
            "NotOwned",
            "503",
            id="a fault that a person must mend",
        ),
        pytest.param(
            status_of(replace(FULL, phase=Phase.HEALTHY, candidate=None), fault=FAULT),
            "Unknown",
            "CloudUnavailable",
            "503",
            id="healthy, but the cloud does not answer",
        ),
        pytest.param(
            status_of(replace(FULL, phase=Phase.PAUSED, held_by=HeldBy.POLICY)), "False", "Paused", "a hold", id="held"
        ),
        pytest.param(
            status_of(replace(FULL, phase=Phase.PROGRESSING, step=0)), "False", "Progressing", "10 %", id="weight"
        ),
        pytest.param(
            status_of(replace(FULL, phase=Phase.PROGRESSING, step=1)),
            "False",
            "Progressing",
            "a verdict",
            id="analysis",
        ),
        pytest.param(
            status_of(Memory(), deleting=True, fault=FAULT), "False", "CloudUnavailable", "503", id="deletion is stuck"
        ),
    ],
)
def test_what_it_waits_for(status: dict[str, Any], ready: str, reason: str, waits: str) -> None:
    condition = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (condition["status"], condition["reason"]) == (ready, reason)
    assert waits in status["waitingFor"]["what"]


def test_a_timed_pause_says_when_it_ends() -> None:
    spec = edited(strategy={"canary": {"steps": [{"setWeight": 5}, {"pause": {"duration": "5m"}}]}})
    plan = build_blueprint(spec, NAMES, PLACE, RELEASE)
    status = status_of(replace(FULL, phase=Phase.PROGRESSING, step=1), plan=plan)
    assert status["waitingFor"]["until"] == "2026-01-01T12:05:00Z"
    assert status["rollout"]["progress"] == "1/2"
    over = status_of(replace(FULL, phase=Phase.PROGRESSING, step=2), plan=plan)
    assert over["waitingFor"] is None


def test_a_release_taken_back_after_its_promotion_is_not_promoted() -> None:
    cause = replace(CAUSE, reason="Undone", phase=Phase.BAKING)
    conditions = truth(status_of(replace(FULL, phase=Phase.ROLLED_BACK, candidate=None, cause=cause)))
    assert (conditions["Promoted"], conditions["SmokePassed"]) == ("False", "True")


def test_a_missing_environment_is_a_condition_of_its_own() -> None:
    gone = Blocker("EnvironmentReady", "EnvironmentNotReady", "gone", "make it")
    assert truth(status_of(Memory(), blockers=(gone,)))["EnvironmentReady"] == "False"


def test_drift_and_deletion_are_told() -> None:
    healthy = replace(FULL, phase=Phase.HEALTHY, candidate=None)
    assert truth(status_of(healthy, drift="TrafficSplit"))["DriftFree"] == "False"
    assert truth(status_of(healthy, deleting=True))["Reconciling"] == "True"


# --- forecast and actions --------------------------------------------------------------------------------------------


def told(memory: Memory, **seen: Any) -> Any:
    def blueprint(m: Memory) -> Blueprint | None:
        release = m.candidate if m.phase in IN_FLIGHT else m.stable
        return (
            build_blueprint(SPEC, NAMES, PLACE, release)
            if release and release.fingerprint == RELEASE.fingerprint
            else None
        )

    base = Snapshot(fingerprint=RELEASE.fingerprint, resolved=RELEASE, service_known=True, has_edge=True)
    return forecast(memory, replace(base, pointer_known=True, assets_complete=False, **seen), blueprint, NAMES, NOW)


def test_the_first_release_is_foreseen_whole() -> None:
    foreseen = told(Memory())
    names = [type(f.action).__name__ for f in foreseen.actions]
    head = ["BackupTaken", "JobDefined", "ExecutionStarted", "AssetsPublished", "RevisionStaged"]
    assert names == [*head, "PointerSet", "JobDefined", "ExecutionStarted", "PointerSet"]
    assert (foreseen.ends_in, foreseen.waits_for) == (Phase.HEALTHY, None)


def test_a_second_release_is_foreseen_in_steps() -> None:
    stable = start_second().memory.stable
    foreseen = told(Memory(phase=Phase.HEALTHY, stable=stable))
    weights = [a.traffic[-1].percent for f in foreseen.actions if hasattr(a := f.action, "traffic")]
    assert weights == [100, 0, 10, 50, 100], "the service is gone: stable is made again first"


def test_a_blocked_release_says_why_and_does_nothing() -> None:
    foreseen = told(Memory(), blockers=(BLOCK,))
    assert (foreseen.actions, foreseen.ends_in, foreseen.waits_for) == ((), Phase.PENDING, "a freeze")


ALERT = AlertPolicy("latency", "d", "f", 1.0, "A", "R")
ACTIONS: tuple[Action, ...] = (
    AlertCreated(ALERT),
    AlertUpdated(ALERT, "n", ("threshold",)),
    AlertDeleted("n"),
    ServiceDeleted("s"),
    JobDeleted("j"),
    PointerSet(None),
    *(f.action for f in told(Memory()).actions),
    *(f.action for f in told(Memory(phase=Phase.HEALTHY, stable=FIRST)).actions),
)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: type(a).__name__)
def test_every_action_says_what_will_be_true(action: Action) -> None:
    told_ = to_json(action)
    assert told_["action"] == type(action).__name__
    assert told_["description"] == describe(action) != ""
    if isinstance(action, RevisionStaged):
        assert "=" in describe(action)


def test_release_records_are_read_back() -> None:
    assert Release.from_status(SECOND.to_status()) == SECOND
    assert Release.from_status({"id": "x"}) is None

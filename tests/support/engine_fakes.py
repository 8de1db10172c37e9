"""What the engine talks to, in memory: an API server for one deployment, and a cloud in which every action works."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import parse_environment, parse_policy
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.actions import Action, AssetsPublished
from agui_operator.core.alerts import desired
from agui_operator.core.errors import NotOwned
from agui_operator.core.forecast import assume
from agui_operator.core.names import Names
from agui_operator.core.ownership import owned
from agui_operator.core.permitted import Unreadable
from agui_operator.core.phases.case import stage_of
from agui_operator.core.release import Resolved, make_release
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import (
    AlertView,
    AnalysisResult,
    Blocker,
    CheckResult,
    ServiceView,
    Snapshot,
    TargetView,
    Verdict,
)
from agui_operator.core.undo import checks_of
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.belongings import Belongings
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.check_runner import CheckReport, CheckRunner
from agui_operator.engine.deployment.deletion import Deleter
from agui_operator.engine.deployment.execute import Executor
from agui_operator.engine.deployment.observe import Observer, Sight
from agui_operator.engine.deployment.reconcile import Engine
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.settings import Settings

Json = dict[str, Any]
SAMPLES = Path(__file__).parents[2] / "manifests/samples"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sample(name: str) -> Json:
    """The spec of a sample manifest."""
    spec: Json = json.loads(_sample(name))
    return spec


@cache
def _sample(name: str) -> str:
    return json.dumps(yaml.safe_load((SAMPLES / name).read_text())["spec"])


def merged(old: Any, patch: Any) -> Any:
    """What an API server makes of a merge patch (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class FakeKube:
    """The API server as the engine sees it. `log` tells in order what was written; `faults` are raised, one per call of
    a method, before it does anything. `watch` False: the watch does not deliver, so that `body` grows old."""

    def __init__(self, spec: Json | None = None, annotations: Mapping[str, str] | None = None) -> None:
        self.object: Json = {
            "metadata": {
                "namespace": "demo",
                "name": "concierge",
                "uid": "uid-1",
                "generation": 1,
                "resourceVersion": "100",
                "annotations": dict(annotations or {}),
            },
            "spec": spec if spec is not None else sample("release-v2.yaml"),
        }
        self.body: Json = self.object
        self.watch = True
        self.log: list[str] = []
        self.patches: list[Json] = []
        self.events: list[Json] = []
        self.lease: Json | None = None
        self.faults: dict[str, list[Exception]] = {}
        self.lease_reads = 0

    @property
    def status(self) -> Json:
        status: Json = self.object.get("status") or {}
        return status

    def condition(self, kind: str) -> Json:
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def edit(self, **spec: Any) -> None:
        """A person changes the spec."""
        self._store({"spec": spec, "metadata": {"generation": self.object["metadata"]["generation"] + 1}})

    def annotate(self, **annotations: str | None) -> None:
        self._store({"metadata": {"annotations": {f"agui.dev/{k}": v for k, v in annotations.items()}}})

    def deliver(self) -> None:
        """The watch catches up."""
        self.body = self.object

    async def patch_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> str:
        self._fault("patch_status")
        assert uid == self.object["metadata"]["uid"]
        self.patches.append(dict(status))
        self._store({"status": status})
        self.log.append(f"status {self.status.get('phase')}")
        return str(self.object["metadata"]["resourceVersion"])

    async def remove_annotation(self, namespace: str, name: str, annotation: str, value: str) -> str | None:
        self._fault("remove_annotation")
        if (self.object["metadata"].get("annotations") or {}).get(annotation) != value:
            return str(self.object["metadata"]["resourceVersion"])
        self._store({"metadata": {"annotations": {annotation: None}}})
        self.log.append(f"removed {annotation}")
        return str(self.object["metadata"]["resourceVersion"])

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        self._fault("post_event")
        self.events.append(dict(event))

    async def get_lease(self, namespace: str, name: str) -> Json | None:
        self._fault("get_lease")
        self.lease_reads += 1
        return None if self.lease is None else merged({}, self.lease)

    async def put_lease(self, namespace: str, name: str, lease: Mapping[str, Any], *, create: bool) -> Json:
        """By compare-and-swap, as the API server does."""
        self._fault("put_lease")
        version = str((lease.get("metadata") or {}).get("resourceVersion", ""))
        if create != (self.lease is None) or (self.lease and version != self.lease["metadata"]["resourceVersion"]):
            raise KubeError(409, "the object has been modified")
        fresh: Json = merged({}, lease)
        fresh["metadata"]["resourceVersion"] = str(int(version or "0") + 1)
        self.lease = fresh
        return dict(merged({}, fresh))

    def as_kube(self) -> Kube:
        return cast(Kube, self)

    def _fault(self, method: str) -> None:
        due = self.faults.get(method)
        if due:
            raise due.pop(0)

    def _store(self, patch: Json) -> None:
        version = str(int(self.object["metadata"]["resourceVersion"]) + 1)
        self.object = merged(self.object, json.loads(json.dumps(patch)))
        self.object["metadata"] = {**self.object["metadata"], "resourceVersion": version}
        if self.watch:
            self.body = self.object


class FakeCloud:
    """Observer, check runner and executor over one world. Actions take effect at once; `log` tells them in order. While
    `down` is set every look meets it; `act_faults` are raised before the n-th action; `failing` are failing checks."""

    def __init__(self, log: list[str]) -> None:
        self.world = Snapshot(service_known=True, pointer_known=True)
        self.log = log
        self.published: set[str] = set()
        self.backups: set[str] = set()
        self.down: Exception | None = None
        self.act_faults: list[Exception | None] = []
        self.failing: set[str] = set()
        self.target = TargetView("")  # of an undo
        self.looks = 0
        self.drift_looks = 0
        self.actions: list[Action] = []
        self.urgent: list[bool] = []

    def changed(self, names: Names, actions: Sequence[Action]) -> None:
        pass

    async def look(self, scope: Scope, cache: ObjectCache, basic: Snapshot, *, drift: bool) -> Sight:
        if self.down is not None:
            return self._refused(basic)
        seen = self._seen(scope, basic, drift=drift)
        try:
            return Sight(seen) if seen.service is None else Sight(replace(seen, service=mine(scope, seen.service)))
        except NotOwned as foreign:
            return Sight(basic, foreign, foreign=True)

    def _refused(self, basic: Snapshot) -> Sight:
        assert self.down is not None
        self.looks += 1
        return Sight(basic, self.down)

    def _seen(self, scope: Scope, basic: Snapshot, *, drift: bool) -> Snapshot:
        self.looks += 1
        self.drift_looks += drift
        memory, plan = scope.memory, scope.blueprint
        seen = replace(
            basic,
            alerts=_converged(scope, basic),
            analysis=AnalysisResult(Verdict.PASSED, "fine") if _analysed(scope) else None,
        )
        if memory.phase is Phase.UNDOING and memory.undo_to is not None:
            seen = replace(seen, target=replace(self.target, release=memory.undo_to.id))
        if memory.phase is Phase.RESOLVING:
            return self._resolved(scope, seen) if scope.spec is not None else seen
        if memory.phase not in (Phase.HEALTHY, Phase.ROLLED_BACK, Phase.FAILED) or drift:
            world = self.world
            seen = replace(seen, service=world.service, service_known=True, pointer=world.pointer, pointer_known=True)
            seen = replace(seen, candidate_pointer=world.candidate_pointer)
        if plan is None:
            return seen
        seen = replace(seen, assets_complete=plan.release.frontend in self.published)
        if self.world.backup is not None and self.world.backup.name.endswith(f" {plan.release.id}"):
            seen = replace(seen, backup=self.world.backup)
        if self.world.migration is not None and self.world.migration.name == scope.names.migration_job(plan.release.id):
            seen = replace(seen, migration=self.world.migration)
        return seen

    async def run(self, scope: Scope, service: ServiceView | None) -> CheckReport:
        stage, undoing = stage_of(scope.memory.phase), scope.memory.phase is Phase.UNDOING
        if not undoing and (stage is None or scope.blueprint is None):
            return CheckReport()
        if undoing:
            checks = checks_of(scope.memory)
        else:
            assert stage is not None
            assert scope.blueprint is not None
            checks = scope.blueprint.checks(stage)
        return CheckReport({c.name: CheckResult(c.name, c.name not in self.failing, "seen") for c in checks})

    def is_running(self, uid: str) -> bool:
        return False

    def failed_at(self, uid: str) -> float | None:
        return None

    def begin_phase(self, uid: str) -> None:
        pass

    def begin_rollout(self, uid: str) -> None:
        pass

    def end(self, uid: str) -> None:
        pass

    def _resolved(self, scope: Scope, seen: Snapshot) -> Snapshot:
        spec = scope.spec
        assert spec is not None
        image = f"{spec.backend.image}@sha256:1"
        resolved = Resolved(image, image, {s.env: "3" for s in spec.backend.secrets}, "ab" * 32)
        return replace(seen, resolved=make_release(spec, resolved, scope.names.owner))

    async def execute(
        self, scope: Scope, cache: ObjectCache, actions: Sequence[Action], changed: object = None, *, urgent: bool
    ) -> None:
        self.urgent.append(urgent)
        for action in actions:
            fault = self.act_faults.pop(0) if self.act_faults else None
            if fault is not None:
                raise fault
            self.world = assume(self.world, action, scope.names)
            if isinstance(action, AssetsPublished):
                self.published.add(action.frontend)
            self.actions.append(action)
            self.log.append(type(action).__name__)


def mine(scope: Scope, service: ServiceView) -> ServiceView:
    return owned(scope.names, "Cloud Run service", service)


def _converged(scope: Scope, basic: Snapshot) -> tuple[AlertView, ...]:
    """The alert policies that the phase wants, as if they were there."""
    memory = scope.memory
    release = memory.candidate if memory.phase is Phase.BAKING else memory.serving
    if release is None:
        return ()
    wanted = desired(scope.names, basic.channels, release.alerts, release.id)
    return tuple(AlertView(policy.key, policy) for policy in wanted)


def _analysed(scope: Scope) -> bool:
    memory, plan = scope.memory, scope.blueprint
    if plan is None or memory.phase is not Phase.PROGRESSING or memory.step >= len(plan.steps):
        return False
    return plan.steps[memory.step].analysis is not None


@dataclass
class FakeDirectory:
    """Environments and policies, as parsed from the samples."""

    spec: AgUiEnvironmentSpec | None = field(default_factory=lambda: parse_environment(sample("environment.yaml")))
    error: str | None = None
    allowed: tuple[AgUiPolicySpec, ...] = field(default_factory=lambda: (parse_policy(sample("policy.yaml")),))
    rivals: tuple[Blocker, ...] = ()

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        return self.spec, self.error

    def unreadable(self) -> Sequence[Unreadable]:
        return ()

    def policies(self) -> Sequence[AgUiPolicySpec]:
        return self.allowed

    def conflicts(self, uid: str) -> Sequence[Blocker]:
        return self.rivals

    def holder(self, owner: str) -> str | None:
        return None


@dataclass
class Bench:
    """One engine over the fakes. `restart` makes another one from what the API server has."""

    kube: FakeKube = field(default_factory=FakeKube)
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], datetime] = lambda: NOW

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.kube.log)
        self.restart()

    def restart(self) -> None:
        self.kube.deliver()
        self.engine = Engine(
            settings=self.settings,
            observer=cast(Observer, self.cloud),
            checks=cast(CheckRunner, self.cloud),
            executor=cast(Executor, self.cloud),
            directory=self.directory,
            recorder=Recorder(self.kube.as_kube(), self.clock),
            reporter=Reporter(self.kube.as_kube()),
            clock=self.clock,
        )

    def deleter(self, belongings: Belongings) -> Deleter:
        kube = self.kube.as_kube()
        return Deleter(self.engine, belongings, Reporter(kube), Recorder(kube, self.clock))

    @property
    def cache(self) -> ObjectCache:
        return self.engine.cache("uid-1")

    async def turn(self) -> float | None:
        return await self.engine.turn(self.kube.body)

    async def settle(self, turns: int = 30) -> str:
        """Turns until a turn writes nothing and does nothing; returns the phase."""
        for _ in range(turns):
            before = len(self.kube.log)
            await self.turn()
            if len(self.kube.log) == before:
                break
        return str(self.kube.status.get("phase"))

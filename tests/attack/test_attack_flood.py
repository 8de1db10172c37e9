"""A tenant's flood of bundles and checks costs another tenant at most one more turn."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import Any, cast

import pytest

from agui_dev.testbed import bundle_bombs as bombs
from agui_dev.testbed.bundle_bombs import MB
from agui_operator.checks.guard import Guard
from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import CheckResult, ServiceView
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment import check_runner
from agui_operator.engine.deployment.check_runner import PER_NAMESPACE, CheckRunner
from agui_operator.engine.deployment.scope import Scope, Scopes
from agui_operator.gcp.kinds.storage.bundle import BundleRefused
from agui_operator.gcp.kinds.storage.publications import Publications
from artifacts_bucket import Artifacts, read
from engine_fakes import NOW, FakeDirectory, FakeKube
from world_model import FIRST


async def test_a_flood_of_bundles_leaves_a_turn_for_another_namespace() -> None:
    artifacts, publications = Artifacts(), Publications()
    heavy = [artifacts.add(bombs.one_file_listed(2_000 + n, 32 * MB), f"bomb-{n}") for n in range(8)]
    good = artifacts.add(bombs.legal(3, MB), "good")
    flood = [asyncio.create_task(read(artifacts, bomb, publications, "attacker")) for bomb in heavy]
    await asyncio.sleep(0.05)
    assert await read(artifacts, good, publications, "victim") == 3 * MB + len(bombs.PAGE)
    assert sum(task.done() for task in flood) <= 2, "the victim went before the rest of the flood"
    for result in await asyncio.gather(*flood, return_exceptions=True):
        assert isinstance(result, BundleRefused)


def smoking(namespace: str, name: str, count: int) -> Scope:
    body = copy.deepcopy(FakeKube().object)
    body["metadata"] |= {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}"}
    check = {"http": {"path": "/healthz"}}
    body["spec"]["smoke"] = [{"name": f"c{number}", **check} for number in range(count)]
    scope = Scopes(FakeDirectory(), lambda: NOW).build(body, Memory())
    assert scope.spec is not None, scope.parsed
    secrets = {secret.env: "1" for secret in scope.spec.backend.secrets}
    release = replace(FIRST, fingerprint=scope.parsed.fingerprint or "", secrets=secrets)
    return scope.remembering(Memory(phase=Phase.SMOKING, candidate=release))


def service(scope: Scope) -> ServiceView:
    uris = {scope.names.tag(FIRST.id): "http://127.0.0.1:1"}
    return ServiceView("s", "e", scope.uid, "http://127.0.0.1:2", (), (), uris, "", "", "", False, True)


async def test_a_flood_of_checks_has_a_share_and_the_others_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[str] = []
    ends = asyncio.Event()

    async def run_check(check: Any, target: Any, guard: Guard) -> CheckResult:
        running.append(target.tenant)
        await ends.wait()
        return CheckResult(check.name, True)

    async def no_schema(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(check_runner, "arrived", no_schema)
    monkeypatch.setattr(check_runner, "run_check", run_check)
    monkeypatch.setattr(check_runner, "reported_schema", no_schema)
    runner = CheckRunner(cast(Guard, None), Wakeups())
    flood = [smoking("attacker", f"app-{n}", 30) for n in range(10)]
    victim = smoking("victim", "app", 5)
    for scope in (*flood, victim):
        await runner.run(scope, service(scope))
    await asyncio.sleep(0.05)
    assert (running.count("attacker"), running.count("victim")) == (PER_NAMESPACE, 5)
    ends.set()
    await asyncio.sleep(0.2)
    assert running.count("attacker") == 300
    for scope in (*flood, victim):
        runner.end(scope.uid)

"""Checks run beside the loop: started once, reported as a value, ended with their release."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from agui_operator.checks.guard import Guard
from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import CheckResult, SchemaReport, ServiceView
from agui_operator.core.words import Disclosure
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment import check_runner
from agui_operator.engine.deployment.check_runner import CheckRunner
from agui_operator.engine.deployment.scope import Scope, Scopes
from engine_fakes import NOW, FakeDirectory, FakeKube
from world_model import FIRST


class Checks:
    """Checks that end when they are told to."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.gate = asyncio.Event()
        self.passed = True
        self.looks: list[tuple[str, bool]] = []
        self.wrong: str | None = None

    async def run(self, check: Any, target: Any, guard: Guard) -> CheckResult:
        self.started.append(check.name)
        await self.gate.wait()
        return CheckResult(check.name, self.passed)

    async def arrived(self, target: Any, guard: Guard, *, page: bool, propagation: float) -> str | None:
        self.looks.append((target.origin, page))
        return self.wrong

    async def schema(self, guard: Guard, origin: str, *, audience: str | None, disclosure: Disclosure) -> SchemaReport:
        return SchemaReport("0007")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    made = Checks()
    monkeypatch.setattr(check_runner, "arrived", made.arrived)
    monkeypatch.setattr(check_runner, "run_check", made.run)
    monkeypatch.setattr(check_runner, "reported_schema", made.schema)
    return made


def smoking() -> Scope:
    builder = Scopes(FakeDirectory(), lambda: NOW)
    scope = builder.build(FakeKube().object, Memory())
    assert scope.spec is not None
    secrets = {secret.env: "1" for secret in scope.spec.backend.secrets}
    release = replace(FIRST, fingerprint=scope.parsed.fingerprint or "", secrets=secrets)
    return scope.remembering(Memory(phase=Phase.SMOKING, candidate=release))


def service(scope: Scope) -> ServiceView:
    uris = {scope.names.tag(FIRST.id): "http://127.0.0.1:1"}
    return ServiceView("s", "e", scope.uid, "http://127.0.0.1:2", (), (), uris, "", "", "", False, True)


async def test_checks_start_once_ring_when_they_end_and_are_reported(checks: Checks) -> None:
    wakeups, scope = Wakeups(), smoking()
    runner = CheckRunner(cast(Guard, None), wakeups)
    assert (await runner.run(scope, None)).results == {}, "without a service nothing can be asked"
    for _ in range(2):
        assert (await runner.run(scope, service(scope))).results == {}
        await asyncio.sleep(0.01)
    assert scope.blueprint is not None
    expected = {c.name for c in scope.blueprint.checks("candidate")} - {n for _, n in scope.blueprint.check_jobs}
    assert sorted(checks.started) == sorted(expected)
    assert runner.is_running(scope.uid)
    checks.passed = False
    checks.gate.set()
    assert await wakeups.wait(scope.uid, 2)
    await asyncio.sleep(0.01)
    report = await runner.run(scope, service(scope))
    assert {name: result.passed for name, result in report.results.items()} == dict.fromkeys(expected, False)
    assert report.schema == SchemaReport("0007")
    assert not runner.is_running(scope.uid)
    assert runner.failed_at(scope.uid) is not None


async def test_checks_of_a_stage_wait_for_one_look_at_who_answers(checks: Checks) -> None:
    scope, runner = smoking(), CheckRunner(cast(Guard, None), Wakeups())
    checks.wrong = "expected an answer of release r1; release r0 was served"
    await runner.run(scope, service(scope))
    await asyncio.sleep(0.01)
    report = await runner.run(scope, service(scope))
    assert len(checks.looks) == len(set(checks.looks)), "one for the backend, one for the page"
    assert checks.started == [], "another release would have been checked"
    assert report.results
    assert {result.message for result in report.results.values()} == {checks.wrong}
    assert {result.passed for result in report.results.values()} == {False}


async def test_what_has_a_verdict_is_not_run_again(checks: Checks) -> None:
    scope = smoking()
    assert scope.blueprint is not None
    verdicts = {c.name: CheckResult(c.name, True) for c in scope.blueprint.smoke}
    scope = scope.remembering(replace(scope.memory, verdicts=verdicts))
    runner = CheckRunner(cast(Guard, None), Wakeups())
    await runner.run(scope, service(scope))
    await asyncio.sleep(0)
    assert checks.started == []


@pytest.mark.parametrize("end", ["begin_rollout", "end"])
async def test_checks_of_a_release_end_with_it(checks: Checks, end: str) -> None:
    scope = smoking()
    runner = CheckRunner(cast(Guard, None), Wakeups())
    await runner.run(scope, service(scope))
    await asyncio.sleep(0)
    getattr(runner, end)(scope.uid)
    await asyncio.sleep(0.01)
    assert not runner.is_running(scope.uid)
    assert (runner.failed_at(scope.uid), runner.failed_at("unknown")) == (None, None)


async def test_results_of_a_phase_are_not_reported_in_the_next(checks: Checks) -> None:
    scope, runner = smoking(), CheckRunner(cast(Guard, None), Wakeups())
    checks.gate.set()
    await runner.run(scope, service(scope))
    await asyncio.sleep(0.01)
    assert (await runner.run(scope, service(scope))).results
    runner.begin_phase(scope.uid)
    runner.begin_phase("unknown")
    started = len(checks.started)
    assert (await runner.run(scope, service(scope))).results == {}
    await asyncio.sleep(0.01)
    assert len(checks.started) > started
    runner.end(scope.uid)

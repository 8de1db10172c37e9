"""What a change of an environment or a policy wakes: what depends on it, and only when what it says has changed."""

from __future__ import annotations

import asyncio
import copy
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Phase
from agui_operator.engine.cluster.feed import SILENT
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.handlers import deployment, surroundings
from agui_operator.handlers.directory import WatchedDirectory
from engine_fakes import sample

ENVIRONMENT, POLICY = sample("environment.yaml"), sample("policy.yaml")


class Fleet:
    """Deployments `<namespace>/<environment>`, whose uid is that text, and the handlers with one memo."""

    def __init__(self, *uids: str) -> None:
        self.woken: list[str] = []
        wakeups = Wakeups()
        wakeups.wake = lambda uid, key=None: self.woken.append(uid)  # type: ignore[method-assign]
        self.surveyed: list[Any] = []

        def seen(body: Any) -> None:
            self.surveyed.append(body)

        self.refreshed: list[tuple[str, ...]] = []
        directory = WatchedDirectory()
        self.runtime = SimpleNamespace(
            wakeups=wakeups,
            directory=directory,
            references=directory.references,
            environments=SimpleNamespace(seen=seen, forget=lambda uid: None, refresh=self.refreshed.append),
            policies=SimpleNamespace(seen=seen, forget=lambda uid: None, refresh=lambda: None),
            feed=SILENT,
            engine=SimpleNamespace(forget=lambda uid: None),
        )
        self.memo = cast(kopf.Memo, SimpleNamespace(runtime=self.runtime))
        for uid in uids:
            namespace, _, environment = uid.partition("/")
            self.put(uid, namespace, {"name": environment})

    def put(self, uid: str, namespace: str, reference: Any) -> None:
        meta = {"uid": uid, "namespace": namespace, "name": uid}
        self.runtime.references.put({"metadata": meta, "spec": {"environmentRef": reference}})

    async def environment(self, namespace: str, name: str, spec: Any, kind: str = "MODIFIED") -> list[str]:
        """An event as kopf delivers it: to the index, then to the handler. Returns who was woken."""
        self.woken.clear()
        given: dict[str, Any] = {"namespace": namespace, "name": name, "spec": spec, "memo": self.memo}
        given["body"] = {"metadata": {"uid": f"{namespace}/{name}"}}
        if kind != "DELETED":
            await cast(Any, surroundings.environments)(**given)
        await cast(Any, surroundings.environment_seen)(**given, type=kind)
        return sorted(self.woken)

    async def policy(self, name: str, spec: Any, kind: str = "MODIFIED") -> list[str]:
        self.woken.clear()
        if kind != "DELETED":
            await cast(Any, surroundings.policies)(name=name, spec=spec, memo=self.memo)
        await cast(Any, surroundings.policy_seen)(
            name=name, body={"metadata": {"uid": name}}, memo=self.memo, type=kind
        )
        return sorted(self.woken)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("a/prod", "a/test", "b/prod", "c/prod")


async def test_an_environment_wakes_those_that_name_it(fleet: Fleet) -> None:
    assert await fleet.environment("a", "prod", ENVIRONMENT) == ["a/prod"]
    assert await fleet.environment("a", "other", ENVIRONMENT) == []


async def test_an_event_that_changes_nothing_it_says_wakes_nobody(fleet: Fleet) -> None:
    """An annotation, or the operator's own write of its status."""
    await fleet.environment("a", "prod", ENVIRONMENT)
    assert await fleet.environment("a", "prod", copy.deepcopy(ENVIRONMENT)) == []
    changed = {**ENVIRONMENT, "region": "us-east1"}
    assert await fleet.environment("a", "prod", changed) == ["a/prod"]
    assert len(fleet.surveyed) == 3


async def test_an_environment_that_becomes_invalid_or_goes_wakes_its_own(fleet: Fleet) -> None:
    await fleet.environment("a", "prod", ENVIRONMENT)
    assert await fleet.environment("a", "prod", {"region": 1}) == ["a/prod"]
    assert await fleet.environment("a", "prod", {"region": 1}) == []
    assert await fleet.environment("a", "prod", {}, "DELETED") == ["a/prod"]
    assert await fleet.environment("a", "prod", {}, "DELETED") == []


async def test_a_policy_wakes_the_namespaces_that_it_matched_or_matches(fleet: Fleet) -> None:
    assert await fleet.policy("p", {**POLICY, "namespaces": ["a"]}) == ["a/prod", "a/test"]
    assert await fleet.policy("p", {**POLICY, "namespaces": ["a"]}) == []
    assert await fleet.policy("p", {**POLICY, "namespaces": ["b"]}) == ["a/prod", "a/test", "b/prod"]
    everybody = ["a/prod", "a/test", "b/prod", "c/prod"]
    broken = {"namespaces": ["b"], "regions": 7}
    assert await fleet.policy("p", broken) == ["b/prod"], "invalid: it permits nothing any more and holds"
    assert await fleet.policy("p", {"namespaces": 7}) == everybody, "it does not say for whom: it holds all"
    assert await fleet.policy("p", {"namespaces": 7}) == []
    assert await fleet.policy("p", {**POLICY, "namespaces": ["c*"]}) == everybody
    assert fleet.refreshed[-1] == ("*", "c*"), "environments that a policy speaks for are looked at again"
    assert await fleet.policy("p", {}, "DELETED") == ["c/prod"]


async def test_a_deployment_that_goes_or_names_another_environment_is_not_woken(fleet: Fleet) -> None:
    fleet.put("a/prod", "a", {"name": "test"})
    body = {"metadata": {"namespace": "a", "name": "x"}}
    await cast(Any, deployment.woke)(uid="a/test", body=body, memo=fleet.memo, type="DELETED")
    assert await fleet.environment("a", "prod", ENVIRONMENT) == []
    assert await fleet.environment("a", "test", ENVIRONMENT) == ["a/prod"]
    fleet.put("odd", "a", "not a mapping")
    assert await fleet.environment("a", "odd", ENVIRONMENT) == []
    fleet.runtime.references.drop("odd")
    fleet.runtime.references.drop("never seen")


async def test_a_bounded_number_of_turns_runs_at_once_and_a_roll_back_does_not_wait() -> None:
    """200 objects that start together; one more whose release is being rolled back."""
    running, most, gate = 0, 0, asyncio.Event()
    phases = {"urgent": Memory(phase=Phase.ROLLING_BACK)}

    class Engine:
        def serves_users(self, uid: str) -> bool:
            return uid in phases

        async def turn(self, body: Any) -> float | None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if body["uid"] not in phases:
                await gate.wait()
            running -= 1
            return None

    runtime: Any = SimpleNamespace(engine=Engine(), turns=asyncio.Semaphore(8))
    bodies: list[Any] = [{"uid": f"u{n}"} for n in range(200)]
    turns = [asyncio.create_task(deployment.one_turn(runtime, body["uid"], body)) for body in bodies]
    await asyncio.sleep(0)
    assert running == 8
    urgent: Any = {"uid": "urgent"}
    await asyncio.wait_for(deployment.one_turn(runtime, "urgent", urgent), 1)
    gate.set()
    await asyncio.gather(*turns)
    assert most == 9

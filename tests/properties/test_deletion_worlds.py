"""Deletion in every world: each policy, each set of owned things, a fault or the end of the process at each call, an
unreadable spec, an environment that is gone. What is to be retained stays, nothing of others is touched, the pointer
goes first, it ends, and whatever blocks it names the way out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from agui_operator.core.deletion import Kind
from agui_operator.core.errors import CloudError
from agui_operator.core.memory import Memory
from agui_operator.engine.deployment.scope import Scopes
from deletion_model import FOREIGN, OWNED, DeletionCloud, Json, Killed, Thing, bench_of, spec_of
from engine_fakes import Bench, FakeDirectory

PARTS = ("backend", "alerts", "pointer")
PART_OF = {
    Kind.URL_MAP_RULES: "pointer",
    Kind.ALERT_POLICY: "alerts",
    Kind.SERVICE: "backend",
    Kind.JOB: "backend",
    Kind.EXECUTION: "backend",
}
POLICIES = [dict(zip(PARTS, rules, strict=True)) for rules in itertools.product(("Retain", "Delete"), repeat=3)]
STRIKES: dict[str, Callable[[], BaseException]] = {
    "killed": Killed,
    "unavailable": lambda: CloudError(503, "try later"),
    "forbidden": lambda: CloudError(403, "not permitted"),
    "timed out": lambda: TimeoutError("too slow"),
    "bug": lambda: KeyError("secret"),
}
ABANDON = "agui.dev/abandon=true"


def subsets() -> Iterator[set[Thing]]:
    things = [(kind, name) for kind, names in OWNED.items() for name in names]
    for count in range(len(things) + 1):
        yield from map(set, itertools.combinations(things, count))


def retained(owned: set[Thing], policy: Json) -> set[Thing]:
    return {(kind, name) for kind, name in owned if policy[PART_OF[kind]] == "Retain"}


async def delete(bench: Bench, cloud: DeletionCloud, calls: int = 4) -> bool:
    """Asks until the object may go, with another process after each end of one; True if it may."""
    for _ in range(calls):
        try:
            if await bench.deleter(cloud.as_belongings()).delete(bench.kube.object) is None:
                return True
        except Killed:
            bench.restart()
    return False


def assert_kept(cloud: DeletionCloud, owned: set[Thing], policy: Json) -> None:
    assert cloud.foreign == FOREIGN, "something of others was touched"
    assert cloud.owned >= retained(owned, policy), "something that is to be retained was deleted"
    kinds = [kind for kind, _ in cloud.gone]
    assert Kind.URL_MAP_RULES not in kinds[1:], "users were served by something that was being deleted"


@pytest.mark.parametrize("valid", [True, False], ids=["valid spec", "another field is invalid"])
async def test_what_the_policy_says_goes_and_the_rest_stays(valid: bool) -> None:
    for policy, owned in itertools.product(POLICIES, subsets()):
        cloud = DeletionCloud(set(owned))
        assert await delete(bench_of(spec_of(policy, valid=valid)), cloud, calls=1)
        assert_kept(cloud, owned, policy)
        assert cloud.owned == retained(owned, policy)


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
async def test_a_strike_at_any_call_changes_nothing_of_it(strike: str, after: bool) -> None:
    owned = {(kind, name) for kind, names in OWNED.items() for name in names}
    for policy in POLICIES:
        calls = DeletionCloud(set(owned))
        await delete(bench_of(spec_of(policy, valid=True)), calls)
        for number in range(calls.calls):
            cloud = DeletionCloud(set(owned), strike=STRIKES[strike](), strike_at=number, after=after)
            bench = bench_of(spec_of(policy, valid=True))
            assert await delete(bench, cloud), f"{policy} struck at call {number} does not end"
            assert cloud.strike is None, "the strike never came"
            assert_kept(cloud, owned, policy)
            assert cloud.owned == retained(owned, policy)
            if strike != "killed":
                message = bench.kube.condition("Ready")["message"]
                assert ABANDON in message
                assert "secret" not in message


@pytest.mark.parametrize("policy", [{"backend": "Retian"}, {"backend": 1}, "Retain", {"backend": "Retain", "new": "x"}])
async def test_a_policy_that_can_not_be_read_deletes_nothing_until_it_is_corrected(policy: object) -> None:
    for owned in subsets():
        cloud, bench = DeletionCloud(set(owned)), bench_of(spec_of(policy, valid=True))
        assert not await delete(bench, cloud)
        assert (cloud.owned, cloud.calls) == (owned, 0)
        ready = bench.kube.condition("Ready")
        assert ready["reason"] == "DeletionBlocked"
        assert [w for w in ("spec.deletionPolicy", "correct the spec", ABANDON) if w not in ready["message"]] == []
        bench.kube.edit(
            **spec_of({"backend": "Delete", "alerts": "Delete", "pointer": "Delete", "new": None}, valid=True)
        )
        assert await delete(bench, cloud)
        assert (cloud.owned, cloud.foreign) == (set(), FOREIGN)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_missing_environment_deletes_nothing_until_it_is_back(policy: Json) -> None:
    owned = {(kind, name) for kind, names in OWNED.items() for name in names}
    cloud, bench = DeletionCloud(set(owned)), bench_of(spec_of(policy, valid=True), environment=False)
    if "Delete" in policy.values():
        assert not await delete(bench, cloud)
        message = bench.kube.condition("Ready")["message"]
        assert [w for w in ("AgUiEnvironment demo/demo does not exist", "create", ABANDON) if w not in message] == []
    assert (cloud.owned, cloud.calls) == (owned, 0)
    bench.directory.spec = FakeDirectory().spec
    assert await delete(bench, cloud)
    assert cloud.owned == retained(owned, policy)


@pytest.mark.parametrize("environment", [True, False])
@pytest.mark.parametrize("policy", [*POLICIES, "unreadable"])
async def test_an_abandoned_object_goes_and_touches_nothing(policy: object, environment: bool) -> None:
    owned = {(kind, name) for kind, names in OWNED.items() for name in names}
    cloud, bench = DeletionCloud(set(owned)), bench_of(spec_of(policy, valid=False), environment=environment)
    bench.kube.annotate(abandon="true")
    assert await delete(bench, cloud, calls=1)
    assert (cloud.owned, cloud.calls) == (owned, 0)


async def test_what_does_not_go_is_named_and_asked_for_again() -> None:
    class Stubborn(DeletionCloud):
        async def remove(self, scope: object, things: object) -> None:
            return None

    owned: set[Thing] = {(Kind.SERVICE, "service")}
    cloud, bench = Stubborn(owned), bench_of(spec_of(POLICIES[-1], valid=True))
    assert not await delete(bench, cloud, calls=2)
    assert "Cloud Run service service" in bench.kube.condition("Ready")["message"]


async def test_a_status_that_was_damaged_by_hand_does_not_stop_it() -> None:
    """The stable release is that of the spec, and the versions of its secrets were removed from the status."""
    policy = dict.fromkeys(PARTS, "Delete")
    cloud, bench = DeletionCloud({(Kind.SERVICE, "service")}), bench_of(spec_of(policy, valid=True))
    spec = Scopes(bench.directory, bench.clock).build(bench.kube.object, Memory()).parsed
    bench.kube.object["status"]["stable"] |= {"fingerprint": spec.fingerprint, "secrets": None}
    assert await delete(bench, cloud, calls=1)
    assert cloud.owned == set()

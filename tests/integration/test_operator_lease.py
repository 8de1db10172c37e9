"""Two operators and one Lease: one works, the other waits; who lost the lease writes nothing more."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agui_dev.testbed.api_proxy import ApiProxy, is_status_write
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, CANARY, NAME, full_release, release
from agui_dev.testbed.system import System, wait_for
from end_state import faults_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SECONDS = "2"
LONG = "30"  # nobody waits for the end of such a lease


@dataclass(frozen=True, slots=True)
class Pair:
    """The one that holds the lease, and one that waits for it; the first has a way to the API server of its own."""

    first: OperatorProcess
    second: OperatorProcess
    way: ApiProxy


@pytest.fixture
def pair(system: System, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Their leases last SECONDS, or what the test asks for."""
    seconds = getattr(request, "param", SECONDS)
    way = ApiProxy(system.plane.kubeconfig).start()
    first = system.operator(proxy=way, AGUI_LEASE_SECONDS=seconds)
    second = system.operator(AGUI_LEASE_SECONDS=seconds, start=False).start(wait=False)
    wait_for(lambda: second.http("/readyz")[0] == 503, "the second operator's start")
    yield Pair(first, second, way)
    first.stop(wait=False)
    second.stop()
    first.stop()
    way.stop()


def holder(system: System) -> str:
    lease = system.api.call("GET", "/apis/coordination.k8s.io/v1/namespaces/agui-system/leases/agui-operator")
    return str(lease["spec"].get("holderIdentity"))


def test_the_second_takes_over_when_the_first_is_killed_and_does_nothing_twice(system: System, pair: Pair) -> None:
    first, second = pair.first, pair.second
    place = system.case()
    before, written = system.position, len(system.proxy.writes)
    system.fault(method="Jobs.RunJob", match=place, when="after", kill_pid=first.pid)
    system.api.apply(full_release(place, "v1", "v1"))
    assert first.wait_ended() == -9
    assert second.http("/readyz")[0] == 503, "it worked before the lease was free"
    second.wait_ready()
    assert holder(system) == second.identity
    system.settle(place, "Healthy", version="v1")
    assert faults_of(system, place, system.effects(before), system.proxy.status_writes(place, written)) == []


@pytest.mark.parametrize("pair", [LONG], indirect=True)
def test_a_holder_that_stops_in_good_order_hands_over_at_once(system: System, pair: Pair) -> None:
    first, second = pair.first, pair.second
    first.stop()
    second.wait_ready(float(LONG) - 5)  # sooner than the lease would have ended by itself
    assert holder(system) == second.identity


def test_one_that_slept_through_its_lease_writes_nothing_when_it_wakes(system: System, pair: Pair) -> None:
    """SIGSTOP in mid-rollout; the other finishes the release; SIGCONT must change nothing."""
    first, second = pair.first, pair.second
    place = system.case()
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    before, written = system.position, len(system.proxy.writes)
    asleep_at = is_status_write(place, "Staging")
    strike = pair.way.strike(asleep_at, when="after", pid=first.pid, kill_with=signal.SIGSTOP)
    system.api.apply(release(place, "v2", strategy={"canary": CANARY}))
    wait_for(strike.struck.is_set, "the first operator's sleep")
    try:
        second.wait_ready()
        system.settle(place, "Healthy", version="v2")
        asleep = len(pair.way.writes)
    finally:
        first.send(signal.SIGCONT)
    first.wait_ended()  # what it remembers is old: the next one starts from the status
    # A renewal that was on its way when it fell asleep is refused, because the lease has changed since.
    late = [(w.method, w.path) for w in pair.way.writes[asleep:] if not ("/leases/" in w.path and w.code == 409)]
    assert not late, "it wrote although another held the lease"
    after = system.position
    system.api.apply(release(place, "v3", strategy=AT_ONCE))
    system.settle(place, "Healthy", version="v3")
    assert holder(system) == second.identity
    assert faults_of(system, place, system.effects(before), system.proxy.status_writes(place, written)) == []
    found = system.api.get(place, NAME)
    history = [(e["release"]["version"], e["outcome"]) for e in found["status"]["history"]]
    assert history == [("v3", "Promoted"), ("v2", "Promoted"), ("v1", "Promoted")]
    staged = [e for e in system.effects(after) if e["effect"] == "create" and "/revisions/" in e["resource"]]
    assert len(staged) == 1
    assert len(Belongings.of(system.gcp, place, system.owner(place)).revisions) == 3

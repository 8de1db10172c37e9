"""Objects in every state that Argo CD shows, made by the real operator on the local cloud."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, environment, policy, release
from agui_dev.testbed.system import System, wait_for
from localgcp.cli.init import Plan, create_environment

Json = dict[str, Any]
State = tuple[str, str, Json]  # kind, name of the state, the object
SLOW: Json = {"canary": {"steps": [{"setWeight": 30}, {"pause": {"duration": "30s"}}, {"setWeight": 70}]}}
_FROZEN, _STOPPED = "frozen-argocd", {"active": True, "reason": "public holiday"}


def states(system: System) -> Iterator[State]:
    """Every state once. Starts and stops an operator of its own."""
    made = _Maker(system)
    yield from made.before_the_operator()
    operator = system.operator()
    try:
        for part in (made.held, made.rejected, made.in_flight, made.waiting, made.environments):
            yield from part()
        operator.stop()
        yield from made.after_the_operator()
    finally:
        system.retire(operator)


class _Maker:
    """Brings objects into states, a namespace for each story."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._early = ""

    def before_the_operator(self) -> Iterator[State]:
        """What is applied while no operator runs."""
        self._early = place = self.system.case()
        self.system.api.apply(release(place, "v1"))
        yield self._deployment("new", place)
        yield "AgUiEnvironment", "new", _given(self.system.api.get(place, ENVIRONMENT, "aguienvironments"))
        yield "AgUiPolicy", "in_force", _given(self.system.api.get("", "tests", "aguipolicies"))

    def held(self) -> Iterator[State]:
        """A pause step, an abort, a retry, a promotion and an undo."""
        place = self._healthy()
        yield self._deployment("healthy", place)
        self.system.api.apply(release(place, "v2", strategy={"canary": HELD}))
        yield self._deployment("paused_by_step", place, _at("Paused", 20))
        self.system.api.annotate(place, NAME, abort="true")
        yield self._deployment("aborted", place, _at("RolledBack"))
        self.system.api.annotate(place, NAME, retry="true")
        self.system.api.until(place, NAME, _at("Paused", 20), "the second attempt")
        self.system.api.annotate(place, NAME, promote_full="true")
        yield self._deployment("healthy_again", place, _at("Healthy"))
        self.system.api.annotate(place, NAME, undo="previous")
        yield self._deployment("undone", place, _at("RolledBack"))

    def rejected(self) -> Iterator[State]:
        """A first release that fails, and a later one; a spec that is invalid."""
        place = self.system.case()
        self.system.api.apply(release(place, "broken"))
        yield self._deployment("failed", place, _at("Failed"))
        self.system.api.apply(release(place, "v1", strategy=AT_ONCE))
        self.system.settle(place, "Healthy", version="v1")
        self.system.api.apply(release(place, "broken"))
        yield self._deployment("rolled_back", place, _at("RolledBack"))
        wrong = {"name": "agent", "agent": {"say": {"a": 1}, "expect": [{"text": "x"}]}}
        self.system.api.apply(release(place, "v1", smoke=[wrong]))
        yield self._deployment("invalid_spec", place, _reason("InvalidSpec"))

    def in_flight(self) -> Iterator[State]:
        """A canary between two steps, and held by a request."""
        place = self._healthy()
        self.system.api.apply(release(place, "v2", strategy=SLOW))
        yield self._deployment("progressing", place, _at("Progressing", 30))
        self.system.api.annotate(place, NAME, pause="true")
        yield self._deployment("paused_by_request", place, _at("Paused", 30))

    def waiting(self) -> Iterator[State]:
        """What holds a rollout from outside: the stop button, spec.suspend, an environment that is not there."""
        self.system.api.apply(policy("frozen", (_FROZEN,), stop=_STOPPED))
        self.system.place(_FROZEN)
        self.system.api.apply(release(_FROZEN, "v1"))
        yield self._deployment("frozen", _FROZEN, _reason("Frozen"))
        place = self.system.case()
        self.system.api.apply(release(place, "v1", suspend=True))
        yield self._deployment("suspended", place, _at("Suspended"))
        place = self.system.case(environment_too=False)
        self.system.api.apply(release(place, "v1"))
        yield self._deployment("environment_missing", place, _reason("EnvironmentNotReady"))

    def environments(self) -> Iterator[State]:
        """Complete, and with a part that does not exist."""
        place = self.system.case()
        yield self._environment("complete", place, "True")
        document = environment(create_environment(self.system.endpoint, Plan(place, place, place)), place)
        document["spec"]["storage"]["assets"]["bucket"] = f"{place}-forgotten"
        self.system.api.apply(document)
        yield self._environment("part_missing", place, "False")

    def after_the_operator(self) -> Iterator[State]:
        """A spec that no operator has observed: the status is still that of the one before."""
        self.system.api.merge(self._early, NAME, {"spec": {"version": "v2"}})
        yield self._deployment("not_observed", self._early)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _healthy(self) -> str:
        place = self.system.case()
        self.system.api.apply(release(place, "v1", strategy=AT_ONCE))
        self.system.settle(place, "Healthy", version="v1")
        return place

    def _deployment(self, state: str, place: str, test: Callable[[Json], bool] = bool) -> State:
        found = self.system.api.until(place, NAME, lambda d: test(d) and _quiet(d), state)
        return "AgUiDeployment", state, _given(found)

    def _environment(self, state: str, place: str, ready: str) -> State:
        def look() -> Json:
            return self.system.api.get(place, ENVIRONMENT, "aguienvironments")

        def looked_at() -> bool:
            found = look()
            status = condition(found, "Ready").get("status")
            return _current(found) and status == ready

        wait_for(looked_at, f"environment {state}")
        return "AgUiEnvironment", state, _given(look())


def _current(found: Json) -> bool:
    return bool((found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"])


def _quiet(found: Json) -> bool:
    """No request waits for its answer."""
    return not any(key.startswith("agui.dev/") for key in found["metadata"].get("annotations") or ())


def _at(phase: str, weight: int | None = None) -> Callable[[Json], bool]:
    def there(found: Json) -> bool:
        status = found.get("status") or {}
        reached = weight is None or (status.get("rollout") or {}).get("weight") == weight
        return _current(found) and status.get("phase") == phase and reached

    return there


def _reason(reason: str) -> Callable[[Json], bool]:
    def there(found: Json) -> bool:
        conditions = (found.get("status") or {}).get("conditions") or ()
        return _current(found) and any(c["reason"] == reason for c in conditions)

    return there


def _given(found: Json) -> Json:
    """As `kubectl get -o yaml` prints it."""
    document = copy.deepcopy(found)
    document["metadata"].pop("managedFields", None)
    return document

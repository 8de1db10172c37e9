"""All traffic to the release, then the release pointer."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import PointerSet, TrafficSplit
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.routing import serves_only
from agui_operator.core.rollout import Event


def _promoted(case: Case) -> Happened | None:
    service, revision = case.seen.service, case.plan.revision.revision
    if service is None:
        return None
    if service.ready is False and service.latest_ready != revision and case.memory.stable is not None:
        return case.fail(
            Reason.REVISION_FAILED, f'Revision "{revision}" is not ready: {service.why(case.seen.disclosure)}'
        )
    return (Event.SUCCEEDED, None) if case.serves(100) and _is_pointed(case) else None


def _promote(case: Case) -> Actions:
    if case.seen.service is None:
        return ()
    traffic = case.split_to(100)
    if traffic is not None:
        return (TrafficSplit(traffic),)
    if not case.serves(100) or not case.seen.pointer_known or _is_pointed(case):
        return ()  # the pointer follows when the backend that its page calls serves every request
    return (PointerSet(case.plan.pointer),)


def _is_pointed(case: Case) -> bool:
    pointer, seen = case.plan.pointer, case.seen
    return pointer is None or (seen.pointer_known and serves_only(seen, pointer))


PROMOTING = Logic(_promoted, _promote)

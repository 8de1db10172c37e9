"""Back to the stable release: traffic, release pointer and alert policies, as one unit. Each part goes back as soon as
its own API works; none waits for another's."""

from __future__ import annotations

from agui_operator.core import alerts
from agui_operator.core.actions import Action, Pointer, PointerSet, TrafficSplit
from agui_operator.core.looks import looks
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.routing import hide, is_routed, serves_only
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Look
from agui_operator.core.traffic import Target, same_split, share, split


def _restored(case: Case) -> Happened | None:
    seen, target = case.seen, case.memory.serving
    if target is None:
        hidden = not seen.has_edge or (seen.pointer_known and not is_routed(seen))
        return (Event.NOTHING_PUBLIC, None) if hidden else None
    if seen.service is None:
        return None
    served = _only(case, target) is None and share(seen.service.serving, case.names.revision(target.id)) == 100
    pointed = not seen.has_edge or (seen.pointer_known and serves_only(seen, target.frontend))
    return (Event.RESTORED, None) if served and pointed and (_watched(case) or case.alerts_can_wait) else None


def _watched(case: Case) -> bool:
    """True if the alert policies are those of the release that serves, or were never changed."""
    if Look.ALERTS not in looks(case.memory, drift=False):
        return True
    return alerts.actions(case.seen, case.names, case.memory.serving) == ()


def restore(case: Case) -> Actions:
    """Traffic and pointer go back together; the candidate keeps no tag, so that no request can reach it."""
    seen, target = case.seen, case.memory.serving
    if target is None:
        return hide(seen)
    actions: list[Action] = []
    traffic = _only(case, target) if seen.service is not None else None
    if traffic is not None:
        actions.append(TrafficSplit(traffic))
    if seen.has_edge and seen.pointer_known and not serves_only(seen, target.frontend):
        actions.append(PointerSet(Pointer(target.frontend, target.id)))
    return tuple(actions)


def _roll_back(case: Case) -> Actions:
    return restore(case) + alerts_due(case)


def alerts_due(case: Case) -> Actions:
    """What makes the alert policies those of the release that serves; () where they were not looked at."""
    return alerts.actions(case.seen, case.names, case.memory.serving) or ()


def _only(case: Case, release: Release) -> tuple[Target, ...] | None:
    """The traffic with this release alone; None if the service has it already."""
    assert case.seen.service is not None
    have = case.seen.service.traffic
    want = split(None, case.target(release), 0, have)
    return None if same_split(want, have) else want


ROLLING_BACK = Logic(_restored, _roll_back, planned=False)

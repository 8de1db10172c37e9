"""No rollout: before its start, and after its end, where the cloud is compared with the stable release."""

from __future__ import annotations

from agui_operator.core.actions import Action, AssetsPublished, Bundle, PointerSet, RevisionStaged, TrafficSplit
from agui_operator.core.phases.case import Actions, Case, Happened, Logic, no_actions
from agui_operator.core.phases.restoring import alerts_due, restore
from agui_operator.core.phases.routing import hide, serves_only
from agui_operator.core.rollout import Event, Phase
from agui_operator.core.traffic import share, split


def _started(case: Case) -> Happened | None:
    memory, fingerprint = case.memory, case.seen.fingerprint
    if fingerprint is None:
        return None
    if memory.stable is not None and fingerprint == memory.stable.fingerprint:
        return Event.ALREADY_STABLE, None
    if memory.rejected is not None and memory.rejected.covers(fingerprint, case.seen.procedure):
        return (Event.STILL_REJECTED if memory.stable else Event.NOTHING_PUBLIC), None
    if case.suspended:
        return Event.SUSPENDED, None
    what_serves_is_known = case.seen.service_known and case.seen.pointer_known
    return None if case.seen.blockers or not what_serves_is_known else (Event.STARTED, None)


def _unsuspended(case: Case) -> Happened | None:
    return None if case.suspended else (Event.RESUMED, None)


def _spec_changed(case: Case) -> Happened | None:
    memory, fingerprint = case.memory, case.seen.fingerprint
    if fingerprint is None:
        return None
    if memory.stable is not None and memory.stable.fingerprint == fingerprint:
        # also where another attempt of the same spec was rejected or undone
        return None if memory.phase is Phase.HEALTHY else (Event.SPEC_CHANGED, None)
    rejected = memory.rejected is not None and memory.rejected.covers(fingerprint, case.seen.procedure)
    return None if rejected else (Event.SPEC_CHANGED, None)


def _correct_drift(case: Case) -> Actions:
    return _correct_release(case) + _page_due(case) + alerts_due(case)


def _page_due(case: Case) -> Actions:
    """Files of the stable release's page that somebody deleted are published again from the bundle of its record,
    whatever the spec asks for by now."""
    stable, seen = case.memory.stable, case.seen
    source = stable.source if stable is not None else None
    if stable is None or not stable.frontend or source is None or seen.assets_complete is not False or case.suspended:
        return ()
    bundle = Bundle(seen.artifacts_bucket, *source)
    return (AssetsPublished(bundle, stable.frontend, seen.assets_bucket, restores=f"{stable.version} ({stable.id})"),)


def _correct_release(case: Case) -> Actions:
    """What was changed by others of the resources that the stable release owns goes back."""
    plan, stable, seen = case.blueprint, case.memory.stable, case.seen
    if stable is None or case.suspended:
        return ()
    if plan is None or plan.release.id != stable.id:
        return restore(case)
    actions: list[Action] = []
    target = case.target(stable)
    if case.is_missing(stable):
        have = seen.service.traffic if seen.service is not None else ()
        actions.append(RevisionStaged(plan.revision, split(None, target, 0, have)))
    elif seen.service is not None and share(seen.service.traffic, target.revision) != 100:
        actions.append(TrafficSplit(split(None, target, 0, seen.service.traffic)))
    if plan.pointer is not None and seen.pointer_known and not serves_only(seen, plan.pointer):
        actions.append(PointerSet(plan.pointer))
    return tuple(actions)


def _stay_rolled_back(case: Case) -> Actions:
    """Drift: the blueprint is of the rejected spec and is not needed."""
    restored = restore(case) if case.memory.stable is not None and not case.suspended else ()
    return restored + _page_due(case) + alerts_due(case)


def _stay_failed(case: Case) -> Actions:
    return hide(case.seen)


PENDING = Logic(_started, no_actions, planned=False)
SUSPENDED = Logic(_unsuspended, no_actions, planned=False)
HEALTHY = Logic(_spec_changed, _correct_drift, planned=False)
ROLLED_BACK = Logic(_spec_changed, _stay_rolled_back, planned=False)
FAILED = Logic(_spec_changed, _stay_failed, planned=False)

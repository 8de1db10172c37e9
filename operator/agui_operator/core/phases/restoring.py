"""Back to the stable release: traffic, release pointer and alert policies, as one unit. Each part goes back as soon as
its own API works; none waits for another's."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.core import alerts
from agui_operator.core.actions import Action, PointerSet, TrafficSplit
from agui_operator.core.floor import too_old
from agui_operator.core.looks import looks
from agui_operator.core.memory import Memory
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.routing import hide, is_routed, pointer_to, serves_only
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Look, Phase
from agui_operator.core.traffic import Target, same_split, share, split

_PATIENCE = 120.0  # seconds that a newer spec waits for routes that were asked for


def _restored(case: Case) -> Happened | None:
    seen, target = case.seen, case.memory.serving
    if target is None:
        hidden = not seen.has_edge or (seen.pointer_known and not is_routed(seen))
        return (Event.NOTHING_PUBLIC, None) if hidden else None
    if seen.service is None:
        return _superseded(case)
    served = _only(case, target) is None and share(seen.service.serving, case.names.revision(target.id)) == 100
    pointed = not seen.has_edge or (seen.pointer_known and serves_only(seen, pointer_to(target)))
    if served and pointed and (_watched(case) or case.alerts_can_wait):
        return Event.RESTORED, None
    return _superseded(case)


def _superseded(case: Case) -> Happened | None:
    """A newer spec gets its turn where nothing is left to do for users and the stable release does not come back."""
    seen, candidate, target = case.seen, case.memory.candidate, case.memory.serving
    is_newer = seen.fingerprint is not None and (candidate is None or seen.fingerprint != candidate.fingerprint)
    if not is_newer or target is None or not (seen.service_known and seen.pointer_known) or restore(case):
        return None
    stuck = _is_hopeless(case, target) or case.elapsed >= _PATIENCE
    return (Event.SPEC_CHANGED, None) if stuck else None


def with_fallback(case: Case) -> Memory:
    """The memory with an older promoted release to go back to, where the one that should serve can't be restored."""
    memory, target = case.memory, case.memory.serving
    if memory.phase is not Phase.ROLLING_BACK or target is None or not _is_hopeless(case, target):
        return memory
    older = _older(memory, target)
    if older is None:
        return memory
    cause = memory.cause
    if cause is not None:
        why = f"; release {target.version} ({target.id}) can't be restored, so {older.version} ({older.id}) serves"
        cause = replace(cause, message=cause.message + why)
    return replace(memory, undo_to=older, cause=cause)


def _is_hopeless(case: Case, release: Release) -> bool:
    """True if a release can't serve: its revision is gone and nobody knows how to make it, or it does not start."""
    service, revision = case.seen.service, case.names.revision(release.id)
    if case.is_missing(release):
        return case.remade(release) is None
    if service is None or service.reconciling or service.ready is not False:
        return False
    return share(service.traffic, revision) == 100 and share(service.serving, revision) != 100


def _older(memory: Memory, release: Release) -> Release | None:
    """The promoted release before this one that was not rejected since."""
    rejected = memory.rejected.release if memory.rejected is not None else None
    promoted = [one.release for one in memory.promoted]
    ids = [one.id for one in promoted]
    later = promoted[ids.index(release.id) + 1 :] if release.id in ids else promoted
    candidate = memory.candidate.id if memory.candidate is not None else None
    left = (one for one in later if one.id not in (release.id, rejected, candidate))
    return next((one for one in left if too_old(memory, one) is None), None)


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
    if case.is_missing(target):
        remade = case.remade(target)
        actions += [remade] if remade is not None else []
    elif seen.service is not None and (traffic := _only(case, target)) is not None:
        actions.append(TrafficSplit(traffic))
    if seen.has_edge and seen.pointer_known and not serves_only(seen, pointer_to(target)):
        actions.append(PointerSet(pointer_to(target)))
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

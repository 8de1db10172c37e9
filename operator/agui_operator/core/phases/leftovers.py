"""Tags of revisions that were never promoted: a superseded candidate is not to be reached, and needs no instances."""

from __future__ import annotations

from agui_operator.core.actions import TrafficSplit
from agui_operator.core.phases.case import Actions, Case
from agui_operator.core.rollout import RESTING, Phase

# No revision of the rollout has a tag yet, or none needs one any more.
_BEFORE_STAGING = RESTING | {
    Phase.PENDING,
    Phase.RESOLVING,
    Phase.BACKING_UP,
    Phase.MIGRATING,
    Phase.PUBLISHING,
}


def untagged(case: Case) -> Actions:
    """Removes the tags of superseded and failed revisions; tags of others and every share stay as they are."""
    memory, service = case.memory, case.seen.service or case.seen.last_service
    if memory.phase not in _BEFORE_STAGING or service is None or memory.stable is None:
        return ()
    kept = {case.names.revision(release.id) for release in (memory.stable, *(p.release for p in memory.promoted))}
    ours = f"{case.names.service}-"
    left = tuple(
        target
        for target in service.traffic
        if not (target.tag or "").startswith("r-")
        or target.percent > 0
        or target.revision in kept
        or not target.revision.startswith(ours)
    )
    return () if left == service.traffic else (TrafficSplit(left),)

"""What the URL map of this deployment says, compared with what a release needs."""

from __future__ import annotations

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer, PointerSet
from agui_operator.core.phases.case import Actions, Case
from agui_operator.core.release import Release
from agui_operator.core.snapshot import Snapshot


def serves_only(seen: Snapshot, pointer: Pointer) -> bool:
    """True if the URL map serves the folder of this release (without a frontend: this deployment's API), and no
    candidate beside it. It names the release too: that is how the stable one is found again when the status is lost."""
    return seen.pointer == pointer and seen.candidate_pointer is None


def pointer_to(release: Release) -> Pointer:
    return Pointer(release.frontend, release.id)


def is_routed(seen: Snapshot) -> bool:
    """True if the URL map has anything of this deployment."""
    return seen.pointer is not None or seen.candidate_pointer is not None


def hide(seen: Snapshot) -> Actions:
    """Remove every route of this deployment."""
    return (PointerSet(None),) if seen.pointer_known and is_routed(seen) else ()


def candidate_routing(case: Case) -> PointerSet | None:
    """The routes while the candidate is checked: users get the page that they had, requests that name the candidate get
    its page. None: there is no page, or users have the same one already."""
    candidate, stable, seen = case.plan.pointer, case.memory.stable, case.seen
    if candidate is None or candidate.frontend is None:
        return None
    public = pointer_to(stable) if stable is not None else seen.pointer
    if public is not None and public.frontend == CHANGED_BY_HAND:
        public = None
    if public is not None and public.frontend == candidate.frontend:
        return None
    return PointerSet(public, candidate)

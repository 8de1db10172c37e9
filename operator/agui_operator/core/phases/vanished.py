"""A candidate whose revision or service somebody deleted: users go back to stable, and the same spec is tried again."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.core.memory import Cause
from agui_operator.core.phases.case import Case, Happened
from agui_operator.core.rollout import Event, Phase

_NEEDS_REVISION = frozenset({Phase.SMOKING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING})


def vanished(case: Case) -> Happened | None:
    memory, candidate = case.memory, case.memory.candidate
    if memory.phase not in _NEEDS_REVISION or candidate is None or not case.is_missing(candidate):
        return None
    what = f"Cloud Run service {case.names.service}"
    if not case.service_gone:
        what = f"Cloud Run revision {case.names.revision(candidate.id)}"
    message = f"{what} was deleted outside the operator; the release starts again"
    return Event.CHECK_FAILED, Cause(Reason.RESOURCE_GONE, message, memory.phase, case.now, rejects=False)

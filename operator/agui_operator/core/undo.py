"""What an undo needs of the release that it goes back to, and whether it has it.

Checks are recorded with a promotion, because those of a newer spec may ask for what an older release does not have.
Recorded are those that reach the backend by its tag: files of the page are looked at in the bucket, and a job or a
statement in the database would need what only the spec of that time says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.smoke import SmokeCheck
from agui_operator.core import floor, past
from agui_operator.core.memory import Memory
from agui_operator.core.parsing import items, member
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Look
from agui_operator.core.status_inputs import Inputs

_KINDS = ("http", "websocket", "agent")
_BYTES = 8192  # of the checks of one release: the status keeps several


def target_of(memory: Memory) -> Release | None:
    """The release that the undo under way goes back to; otherwise the one that an undo would go back to."""
    if memory.undo_to is not None:
        return memory.undo_to
    return past.undo_target(memory.promoted, memory.stable.id if memory.stable is not None else None, past.PREVIOUS[0])


def way_back(inputs: Inputs) -> tuple[bool | None, Reason, str]:
    """The condition RollbackReady: during a rollout about the stable release, which serves until the new one does;
    otherwise about the release that an undo would go back to, as it was looked at."""
    memory, seen = inputs.memory, inputs.seen
    stable, target = memory.stable, target_of(memory)
    if stable is None:
        return False, Reason.NO_STABLE_RELEASE, "No release has been promoted yet"
    if memory.phase in IN_FLIGHT:
        what, old = f"Release {stable.version} ({stable.id})", floor.too_old(memory, stable)
        if old is not None:
            return False, Reason.SCHEMA_CONTRACTED, f"{what} can receive traffic again, but {old}"
        return True, Reason.STABLE_KNOWN, f"{what} can be restored"
    if target is None:
        return False, Reason.NO_EARLIER_RELEASE, f"No release was stable before {stable.version} ({stable.id})"
    what = f"Release {target.version} ({target.id})"
    if target.id in inputs.forbidden:
        return False, Reason.NOT_PERMITTED, f"{what} can't be restored: {inputs.forbidden[target.id]}"
    if (old := floor.too_old(memory, target)) is not None:
        return False, Reason.SCHEMA_CONTRACTED, f"{what} can't be restored: {old}"
    if seen is not None and seen.target is not None and seen.target.release == target.id:
        problem = seen.target.problem
        if problem is not None:
            return False, problem[0], f"{what} can't be restored: {problem[1]}"
        return True, Reason.STABLE_KNOWN, f"{what} can be restored"
    return _as_before(inputs, what)


def _as_before(inputs: Inputs, what: str) -> tuple[bool | None, Reason, str]:
    """What was told of the same release before; Unknown if it has not been checked yet."""
    failed = inputs.seen.failed.get(Look.TARGET) if inputs.seen is not None else None
    if failed is not None:
        return None, failed.reason, f"{what} could not be checked: {failed.message}"
    for condition in items(inputs.previous.get("conditions")):
        message, reason = str(condition.get("message")), member(condition.get("reason"), Reason)
        value = {"True": True, "False": False}.get(str(condition.get("status")))
        if condition.get("type") != ConditionType.ROLLBACK_READY or reason in (None, Reason.NOT_PERMITTED):
            continue
        if message.startswith(what):
            return value, reason, message
    return None, Reason.NOT_OBSERVED, f"{what} has not been checked yet"


def recorded(checks: Sequence[SmokeCheck]) -> dict[str, Any]:
    """The checks as they are kept with a promotion, as many as find room."""
    found: dict[str, Any] = {}
    left = _BYTES
    for check in checks:
        raw = check.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
        left -= len(json.dumps(raw))
        if check.kind in _KINDS and left >= 0:
            found[check.name] = raw
    return found


def checks_of(memory: Memory) -> tuple[SmokeCheck, ...]:
    """The checks of the release that an undo goes back to; one that can't be read any more is left out."""
    promotion = past.find(memory.promoted, memory.undo_to.id) if memory.undo_to is not None else None
    found = (_parsed(name, raw) for name, raw in promotion.checks.items()) if promotion is not None else ()
    return tuple(check for check in found if check is not None)


def _parsed(name: str, raw: Any) -> SmokeCheck | None:
    try:
        check = SmokeCheck.model_validate_json(json.dumps({**raw, "name": name}))
    except (ValidationError, TypeError, ValueError):
        return None
    return check if check.kind in _KINDS else None

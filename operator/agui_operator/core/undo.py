"""What an undo asks the release that it goes back to.

Checks are recorded with a promotion, because those of a newer spec may ask for what an older release does not have.
Recorded are those that reach the backend by its tag: files of the page are looked at in the bucket, and a job or a
statement in the database would need what only the spec of that time says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from agui_operator.api.smoke import SmokeCheck
from agui_operator.core import past
from agui_operator.core.memory import Memory

_KINDS = ("http", "websocket", "agent")
_BYTES = 8192  # of the checks of one release: the status keeps several


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

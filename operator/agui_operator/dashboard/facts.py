"""Reads the JSON of an object without trusting its shape: what is absent or of another type is empty.

The API server has checked objects against the schema of today; some were stored under the schema of yesterday.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def mapping(raw: Any, *path: str) -> Mapping[str, Any]:
    """The object at a path, empty if there is none."""
    found = _at(raw, path)
    return found if isinstance(found, Mapping) else {}


def text(raw: Any, *path: str) -> str:
    """The string (or number) at a path."""
    found = _at(raw, path)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    return str(found)


def number(raw: Any, *path: str) -> int | None:
    """The whole number at a path."""
    found = _at(raw, path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def items(raw: Any, *path: str) -> Sequence[Mapping[str, Any]]:
    """The objects of the list at a path."""
    found = _at(raw, path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def moment(raw: Any, *path: str) -> datetime | None:
    """The time at a path, in UTC."""
    try:
        at = datetime.fromisoformat(text(raw, *path))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _at(raw: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(raw, Mapping):
            return None
        raw = raw.get(key)
    return raw

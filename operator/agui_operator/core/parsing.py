"""Reads values of a status that may have been damaged by hand: what is not as expected becomes the default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T", bound=StrEnum)


def time_text(at: datetime | None) -> str | None:
    """The text from which `time_of` gets the same time back."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


def time_of(raw: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) else None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) if at else None
    except (ValueError, OverflowError):
        return None


def mapping(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def items(raw: Any) -> tuple[Mapping[str, Any], ...]:
    """The objects of a list."""
    return tuple(item for item in raw if isinstance(item, Mapping)) if isinstance(raw, list | tuple) else ()


def number(raw: Any) -> float | None:
    try:
        value = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def member(raw: Any, known: type[T]) -> T | None:
    return known(raw) if isinstance(raw, str) and raw in set(known) else None

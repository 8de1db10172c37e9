"""JSON from strangers: only what can be stored, logged and sent on."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

DEEPEST = 40
MOST_VALUES = 20_000  # a conversation of a thousand messages has half of that


class NotJson(ValueError):
    """The text is not JSON."""


class NotStorable(ValueError):
    """It is JSON with a value that cannot be stored; the message says what."""


def parsed(text: str | bytes) -> Any:
    """The value. Raises NotJson, NotStorable."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NotJson("the body is not JSON") from None
    _check(value)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check(value: Any) -> None:
    """Looks at each value once, and at no more than may be."""
    level, depth, left = [value], 0, MOST_VALUES
    while level:
        left -= len(level)
        if left < 0:
            raise NotStorable(f"a body may have {MOST_VALUES} values")
        if depth > DEEPEST:
            raise NotStorable(f"values may be nested {DEEPEST} deep")
        level, depth = [inner for one in level for inner in _inside(one)], depth + 1


def _inside(value: Any) -> Collection[Any]:
    """What a value holds."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if value - value != 0:
            raise NotStorable("a number is out of range")
    elif isinstance(value, dict):
        _check_text("".join(value))
        return value.values()
    elif isinstance(value, list):
        return value
    return ()


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotStorable("text may not hold the character U+0000")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotStorable("text may not hold half a character (a lone surrogate)")

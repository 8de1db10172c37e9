"""JSON from strangers: only what can be stored, logged and sent on."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 40


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
    _check(value, 0)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise NotStorable(f"values may be nested {DEEPEST} deep")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if value - value != 0:
            raise NotStorable("a number is out of range")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotStorable("text may not hold the character U+0000")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotStorable("text may not hold half a character (a lone surrogate)")

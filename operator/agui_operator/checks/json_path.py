"""The part of JSONPath that a smoke check may use: `$.name`, `$['name']` and `[number]`, one value each (RFC 9535,
singular queries). No filters and no wildcards: a check compares one value, and a short expression can't be made
slow."""

from __future__ import annotations

import re
from typing import Any

_SEGMENT = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^'\\]*)'\]|\[\"([^\"\\]*)\"\]|\[(-?[0-9]{1,9})\]")


class JsonPathInvalid(ValueError):
    """The expression is not a singular JSONPath."""


def parse_json_path(text: str) -> tuple[str | int, ...]:
    """The names and indexes of an expression such as `$.schema.heads[0]`. Raises JsonPathInvalid."""
    if not text.startswith("$"):
        raise JsonPathInvalid("a JSONPath begins with '$'")
    segments: list[str | int] = []
    at = 1
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if found is None:
            raise JsonPathInvalid(
                f"JSONPath is not understood from character {at + 1} on; use $.name, $['name'] or [0]"
            )
        name = next((g for g in found.groups()[:3] if g is not None), None)
        segments.append(int(found[4]) if name is None else name)
        at = found.end()
    return tuple(segments)


def value_at(document: Any, path: tuple[str | int, ...]) -> tuple[bool, Any]:
    """(True, value), or (False, None) if the document has nothing there."""
    here = document
    for segment in path:
        if isinstance(segment, str):
            there = isinstance(here, dict) and segment in here
        else:
            there = isinstance(here, list) and -len(here) <= segment < len(here)
        if not there:
            return False, None
        here = here[segment]
    return True, here


def same(want: Any, have: Any) -> bool:
    """JSON equality: `true` is not 1, and 1 is 1.0."""
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if isinstance(want, dict) and isinstance(have, dict):
        return want.keys() == have.keys() and all(same(v, have[k]) for k, v in want.items())
    if isinstance(want, (list, tuple)) and isinstance(have, (list, tuple)):
        return len(want) == len(have) and all(same(w, h) for w, h in zip(want, have, strict=True))
    return bool(want == have)


def within(want: Any, have: Any) -> bool:
    """True if every key of `want` is in `have` with a value that holds `want`'s; all else is compared whole."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(k in have and within(v, have[k]) for k, v in want.items())
    return same(want, have)

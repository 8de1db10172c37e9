"""JSON merge patches (RFC 7386): what to send so that one document becomes another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest merge patch from `old` to `new`; empty when they are equal. Keys whose new value is None, and keys
    that are gone, are removed by a null."""
    patch: dict[str, Any] = {}
    for key in old.keys() - new.keys():
        if old[key] is not None:
            patch[key] = None
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif value != before:
            patch[key] = without_nulls(value)
    return patch


def replacing_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that gives `new` also where somebody changed the document since it was `old`: it says everything,
    with a null for each key that `new` has not, as far as either names it."""
    patch: dict[str, Any] = dict.fromkeys(sorted(old.keys() - new.keys()))
    for key, value in new.items():
        if isinstance(value, Mapping):
            before = old.get(key)
            patch[key] = replacing_patch(before if isinstance(before, Mapping) else {}, value)
        else:
            patch[key] = without_nulls(value)
    return patch


def without_nulls(value: Any) -> Any:
    """A copy without None in maps: in a merge patch a null inside a new map would only ask to remove nothing."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value

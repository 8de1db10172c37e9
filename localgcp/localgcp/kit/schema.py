"""Checks JSON bodies of the REST-only APIs as strictly as Google's front end does: unknown fields, types, enum values.

The tables in rest_schemas.json are made from Google's discovery documents. A type is spelled `string`, `integer`,
`number`, `boolean`, `any`, `int64` (a number or its decimal string), `enum A|B`, `ref Message`, `list <type>` or
`map <type>`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from localgcp.kit.errors import ApiError, from_http

_SIMPLE: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@functools.cache
def _tables() -> dict[str, dict[str, dict[str, str]]]:
    text = resources.files("localgcp.kit").joinpath("rest_schemas.json").read_text()
    tables: dict[str, dict[str, dict[str, str]]] = json.loads(text)
    return tables


def checked(api: str, message: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body itself, without top-level nulls' meaning changed. Raises ApiError 400 that names the first bad field."""
    _check_message(_tables()[api], message, body, "")
    return dict(body)


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body for insert: null means unset."""
    return {key: value for key, value in body.items() if value is not None}


def merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces."""
    result = dict(current)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _check_message(table: Mapping[str, dict[str, str]], message: str, body: Any, path: str) -> None:
    if not isinstance(body, Mapping):
        raise _bad(path, f"expected an object ({message}), got {json.dumps(body)[:80]}")
    fields = table[message]
    for name, value in body.items():
        if name not in fields:
            where = f" at '{path}'" if path else ""
            raise from_http(
                400, f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.', "invalid"
            )
        if value is not None:
            _check_value(table, fields[name], value, f"{path}.{name}" if path else name)


def _check_value(table: Mapping[str, dict[str, str]], kind: str, value: Any, path: str) -> None:
    head, _, rest = kind.partition(" ")
    if head == "ref":
        _check_message(table, rest, value, path)
    elif head == "list":
        if not isinstance(value, list):
            raise _bad(path, "expected a list")
        for index, item in enumerate(value):
            _check_value(table, rest, item, f"{path}[{index}]")
    elif head == "map":
        if not isinstance(value, Mapping):
            raise _bad(path, "expected an object")
        for key, item in value.items():
            if item is not None:
                _check_value(table, rest, item, f"{path}.{key}")
    elif head == "enum":
        if value not in rest.split("|"):
            raise _bad(path, f"{json.dumps(value)[:80]} is not one of {rest.replace('|', ', ')}")
    elif not _fits(head, value):
        raise _bad(path, f"{json.dumps(value)[:80]} is not of type {head}")


def _fits(kind: str, value: Any) -> bool:
    if kind == "any":
        return True
    if kind == "int64":
        return _is_integer(value)
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, str | float):
        return _is_integer(value)
    return isinstance(value, _SIMPLE[kind])


def _is_integer(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?\d+", value) is not None
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _bad(path: str, message: str) -> ApiError:
    return from_http(400, f"Invalid value for field '{path}': {message}", "invalid", location=path)

"""`dataclasses.replace` for models that make millions of values: the fields of a copy are set without `__init__`."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

Value = TypeVar("Value")
_set = object.__setattr__


def replaced(value: Value, **changes: Any) -> Value:
    """A copy of a frozen dataclass with some other fields. Its class has no `__post_init__`."""
    kind: type = type(value)
    names, known = _names(kind)
    if not changes.keys() <= known:
        raise TypeError(f"{kind.__name__} has no field {', '.join(changes.keys() - known)}")
    copy: Value = object.__new__(kind)
    for name in names:
        _set(copy, name, changes[name] if name in changes else getattr(value, name))
    return copy


@cache
def _names(kind: type) -> tuple[tuple[str, ...], frozenset[str]]:
    assert not hasattr(kind, "__post_init__"), kind
    names = tuple(field.name for field in fields(kind))
    return names, frozenset(names)

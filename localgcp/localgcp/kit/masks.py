"""Field masks on protobuf messages: an update changes what its mask names, and nothing else.

Source: https://google.aip.dev/134 and google/protobuf/field_mask.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localgcp.kit.errors import invalid


def apply_mask(target: Any, source: Any, paths: Iterable[str]) -> None:
    """Copies each path from source to target, replacing messages, lists and maps as a whole; "*" names all fields.
    Raises ApiError INVALID_ARGUMENT for a path that the message does not have."""
    for path in paths:
        if path == "*":
            target.CopyFrom(source)
        else:
            _copy(target, source, path.split("."), path)


def _copy(target: Any, source: Any, steps: list[str], path: str) -> None:
    field = _field(target.DESCRIPTOR, steps[0])
    if field is None:
        raise invalid(f"Invalid update mask: the field '{path}' does not exist", "update_mask")
    name = field.name
    if len(steps) > 1:
        if field.message_type is None or field.is_repeated:
            _copy_map_entry(target, source, field, steps[1:], path)
            return
        _copy(getattr(target, name), getattr(source, name), steps[1:], path)
        return
    target.ClearField(name)
    if field.is_repeated:
        getattr(target, name).MergeFrom(getattr(source, name))
    elif field.message_type is not None:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))
    elif not field.has_presence or source.HasField(name):
        setattr(target, name, getattr(source, name))


def _copy_map_entry(target: Any, source: Any, field: Any, steps: list[str], path: str) -> None:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if not is_map or field.message_type.fields_by_name["value"].message_type is not None:
        raise invalid(f"Invalid update mask: '{path}' goes into a list or a scalar", "update_mask")
    key, wanted = ".".join(steps).strip("`"), getattr(source, field.name)
    if key in wanted:
        getattr(target, field.name)[key] = wanted[key]
    else:
        getattr(target, field.name).pop(key, None)


def _field(descriptor: Any, step: str) -> Any:
    for field in descriptor.fields:
        if step in (field.name, field.json_name, field.name.rstrip("_")):
            return field
    return None

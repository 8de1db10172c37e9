"""From a pydantic model to the schema that a CustomResourceDefinition may hold.

Kubernetes takes OpenAPI v3.0 in "structural" form
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema):
no references, no unions with null, no titles, bounds in the old spelling. Whatever pydantic emits that is not listed
here is an error, so that a new construct in a model never slips into a CRD unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from agui_operator.api.base import INT_OR_STRING, LIST_KEYS, LIST_TYPE, PRESERVE, VALIDATIONS

Schema = dict[str, Any]
_KEPT = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    PRESERVE,
    INT_OR_STRING,
    LIST_TYPE,
    LIST_KEYS,
    VALIDATIONS,
)
_DROPPED = ("title", "$defs")
_TRANSLATED = (
    "$ref",
    "allOf",
    "anyOf",
    "const",
    "properties",
    "items",
    "additionalProperties",
    "exclusiveMinimum",
    "exclusiveMaximum",
)


class NotStructural(Exception):
    """A model uses something that a CRD can't say."""


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model. Raises NotStructural."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(raw, raw.get("$defs", {}), model.__name__)


def _convert(node: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Schema:
    node = _resolve(node, defs, where)
    unknown = set(node) - {*_KEPT, *_DROPPED, *_TRANSLATED}
    if unknown:
        raise NotStructural(f"{where}: {sorted(unknown)}")
    out: Schema = {key: node[key] for key in _KEPT if key in node}
    if "description" in out:
        out["description"] = " ".join(str(out["description"]).split())
    if out.get("default", ...) is None:
        del out["default"]
    elif "default" in out:
        out["default"] = _without_nulls(out["default"])
    if "const" in node:
        out["enum"] = [node["const"]]
    if out.get(INT_OR_STRING):
        out.pop("type", None)
    for key, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if key in node:
            out |= {plain: node[key], key: True}
    return out | _children(node, defs, where)


def _children(node: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Schema:
    out: Schema = {}
    if node.get("properties"):  # the API server stores no empty map, and a sync tool would see a difference for ever
        out["properties"] = {
            name: _property(child, defs, f"{where}.{name}") for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _convert(node["additionalProperties"], defs, f"{where}[*]")
    if "items" in node:
        out["items"] = _convert(node["items"], defs, f"{where}[]")
    return out


def _property(node: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Schema:
    out = _convert(node, defs, where)
    if "description" not in out:
        raise NotStructural(f"{where}: has no description")
    return out


def _resolve(node: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Follows references and takes the one branch of `X | None`; what stands beside a reference wins."""
    if "anyOf" in node:
        branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
        if len(branches) != 1:
            raise NotStructural(f"{where}: a union of {len(branches)} types")
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        return {**_resolve(branches[0], defs, where), **beside}
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[-1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return {**_resolve(target, defs, where), **beside}
    return node


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(child) for child in value]
    return value

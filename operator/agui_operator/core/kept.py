"""Which annotations come from a manifest that a tool applies, so that they come back when they are removed.

The API server tells who wrote what (metadata.managedFields). Server-side apply is an operation of its own. A client
that writes the spec as well (kubectl apply, Helm, Argo CD without server-side apply) applies a manifest; `kubectl
annotate` writes annotations alone. `kubectl apply` also keeps the manifest in an annotation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def kept_annotations(meta: Mapping[str, Any], prefix: str) -> frozenset[str]:
    """The annotations with this prefix that a manifest has."""
    present = frozenset(key for key in _map(meta.get("annotations")) if str(key).startswith(prefix))
    if not present:
        return present
    kept = set(_last_applied(meta))
    for entry in _entries(meta.get("managedFields")):
        fields = _map(entry.get("fieldsV1"))
        if not entry.get("subresource") and (entry.get("operation") == "Apply" or "f:spec" in fields):
            kept |= {key.removeprefix("f:") for key in _map(_map(fields.get("f:metadata")).get("f:annotations"))}
    return present & kept


def _last_applied(meta: Mapping[str, Any]) -> Iterable[str]:
    try:
        manifest = json.loads(_map(meta.get("annotations")).get(_LAST_APPLIED, "{}"))
    except (ValueError, TypeError, RecursionError):
        return ()
    return _map(_map(_map(manifest).get("metadata")).get("annotations"))


def _entries(raw: Any) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in raw if isinstance(entry, Mapping)) if isinstance(raw, list | tuple) else ()


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}

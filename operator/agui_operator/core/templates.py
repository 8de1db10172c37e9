"""Revision templates as JSON, so that a revision that is gone can be made again from the record of its release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agui_operator.core.actions import ContainerTemplate, HttpProbe, RevisionTemplate, SecretEnv


def to_json(template: RevisionTemplate) -> str:
    """Canonical JSON without the release's record, which `Release` adds."""
    raw = {key: value for key, value in asdict(template).items() if key != "record"}
    return json.dumps(raw, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> RevisionTemplate | None:
    """The template, or None if the text is empty, damaged or of another version."""
    try:
        raw = json.loads(text)
        box = raw["container"]
        container = ContainerTemplate(
            **{
                **box,
                "command": tuple(box["command"]),
                "args": tuple(box["args"]),
                "secrets": tuple(SecretEnv(**secret) for secret in box["secrets"]),
                "sql_instances": tuple(box["sql_instances"]),
            }
        )
        return RevisionTemplate(
            **{**raw, "container": container, "startup": _probe(raw["startup"]), "liveness": _probe(raw["liveness"])}
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _probe(raw: Mapping[str, Any] | None) -> HttpProbe | None:
    return HttpProbe(**raw) if raw is not None else None

"""The result of a write: the long-running operation that it started, or what the reply said about the resource."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`operation` None: there is nothing to wait for. `view` is the resource as the reply describes it."""

    operation: str | None = None
    view: object | None = None

"""What applying an action gives back: the name of the long operation that it started, or what is true already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`operation` None: nothing is left to wait for. `view` is what the reply said about the resource."""

    operation: str | None = None
    view: object | None = None

"""Who asks, as verified: what every layer below HTTP knows of a caller."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller. `customer` owns the orders that the caller may see; empty: none. `expires_at` is when the
    token ends, in seconds since the epoch. `is_check` marks the identity of release checks, which is no person."""

    user_id: str
    customer: str = ""
    expires_at: float | None = None
    is_check: bool = False

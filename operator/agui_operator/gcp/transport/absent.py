"""Reading what may not exist, and deleting what may be gone."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from agui_operator.core.errors import CloudError

T = TypeVar("T")


async def or_none(call: Awaitable[T]) -> T | None:
    """What the call returns; None where the service answers 404. Raises CloudError for everything else."""
    try:
        return await call
    except CloudError as error:
        if error.code != 404:
            raise
        return None

"""Does a tenant's regular expression match a tenant's text? Searches run in two threads, in turn among namespaces, so
that they stop neither the loop nor each other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from agui_operator.api.expression import is_found
from agui_operator.fair import FairGate

_AT_ONCE, _PER_NAMESPACE = 2, 1


class Searches:
    """One for all checks. The engine is linear (api/expression.py): no search needs to be interrupted."""

    def __init__(self) -> None:
        self._gate = FairGate(_AT_ONCE, _PER_NAMESPACE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="expression")  # starts with the first search

    async def found(self, pattern: str, text: str, tenant: str) -> bool:
        """True if `pattern` is found in the first 64 kB of `text`. Raises ExpressionInvalid."""
        async with self._gate.turn(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._threads, is_found, pattern, text)


SEARCHES = Searches()

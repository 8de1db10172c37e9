"""`agui-operator wait`: follows one object with the current login until its rollout has ended. It only reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from agui_operator.core.errors import ClusterError, ClusterUnreachable
from agui_operator.core.outcome import Exit, Outcome, outcome_of, progress_of
from agui_operator.engine.cluster.kube import Kube
from agui_operator.handlers.startup import connection_of, user_login

_PAUSE = 1.0  # seconds between two looks
_TRANSIENT = (429, 500, 502, 503, 504)


async def wait(name: str, namespace: str | None, timeout: float, say: Callable[[str], None]) -> Outcome:
    """How the rollout of the newest spec ended. Raises ConnectionError without a login, ClusterError on a refusal."""
    info = user_login()
    where = namespace or info.default_namespace or "default"
    kube = Kube(connection_of(info))
    try:
        return await _follow(kube, where, name, timeout, say)
    finally:
        await kube.close()


async def _follow(kube: Kube, namespace: str, name: str, timeout: float, say: Callable[[str], None]) -> Outcome:
    ends = time.monotonic() + timeout
    said = ""
    while True:
        body, told = await _look(kube, namespace, name)
        outcome = outcome_of(body) if not told else None
        if outcome is not None:
            return outcome
        told = told or progress_of(body or {})
        if told != said:
            say(told)
            said = told
        if time.monotonic() + _PAUSE > ends:
            return Outcome(Exit.TIMEOUT, f"timed out after {timeout:g} s; last seen: {said}")
        await asyncio.sleep(_PAUSE)


async def _look(kube: Kube, namespace: str, name: str) -> tuple[dict[str, Any] | None, str]:
    """The object; and why it could not be read, where that passes."""
    try:
        return await kube.get_deployment(namespace, name), ""
    except ClusterUnreachable as exc:
        return None, str(exc)
    except ClusterError as exc:
        if exc.code not in _TRANSIENT:
            raise
        return None, str(exc)

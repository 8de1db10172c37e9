"""AgUiDeployment: any change wakes its loop, one daemon per object runs it, deletion takes down what it owns."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from agui_operator.handlers.runtime import Runtime

AGD = ("agui.dev", "v1alpha1", "aguideployments")


@kopf.on.event(*AGD)
async def woke(uid: str, memo: kopf.Memo, type: str, **_: Any) -> None:  # noqa: A002 - kopf's name
    runtime: Runtime = memo.runtime
    if type == "DELETED":
        runtime.engine.forget(uid)
        runtime.wakeups.forget(uid)
    else:
        runtime.wakeups.ring(uid)


@kopf.daemon(*AGD, cancellation_timeout=10)
async def keep(body: kopf.Body, uid: str, stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    runtime: Runtime = memo.runtime
    while not stopped:
        delay = await runtime.engine.turn(body)
        if stopped:
            break
        await runtime.wakeups.wait(uid, delay if delay is not None else runtime.settings.resync)


@kopf.on.delete(*AGD, id="take-down")
async def removed(body: kopf.Body, uid: str, memo: kopf.Memo, **_: Any) -> None:
    runtime: Runtime = memo.runtime
    delay = await asyncio.shield(runtime.deleter.delete(body))
    if delay is not None:
        raise kopf.TemporaryError("not everything is gone yet; see the conditions", delay=delay)
    runtime.engine.forget(uid)

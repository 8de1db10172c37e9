"""AgUiDeployment: any change wakes its loop, one daemon per object runs it, deletion deletes what it owns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf

from agui_operator.core.requests import PREFIX
from agui_operator.engine.cluster import metrics
from agui_operator.handlers.runtime import Runtime

AGD = ("agui.dev", "v1alpha1", "aguideployments")


@kopf.index(*AGD)
async def known(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
    """An index, because kopf fills indices before it starts any daemon: all deployments are known when the first one
    asks who has its host."""
    runtime: Runtime = memo.runtime
    before = runtime.references.namespaces()
    runtime.wakeups.wake_each(runtime.references.put(body))
    _refresh_policies(runtime, before)


def _refresh_policies(runtime: Runtime, before: set[str]) -> None:
    """A policy says which namespaces with deployments it matches."""
    if runtime.references.namespaces() != before:
        runtime.policies.refresh()


@kopf.on.event(*AGD)
async def woke(uid: str, body: kopf.Body, memo: kopf.Memo, type: str, **_: Any) -> None:  # noqa: A002 - kopf's name
    runtime: Runtime = memo.runtime
    if type == "DELETED":
        runtime.engine.forget(uid)
        runtime.wakeups.forget(uid)
        before = runtime.references.namespaces()
        runtime.wakeups.wake_each(runtime.references.drop(uid))
        _refresh_policies(runtime, before)
        runtime.feed.gone(uid)
        metrics.PHASES.gone(uid)
    else:
        metrics.PHASES.first_seen(uid, body)
        runtime.feed.seen(body)
        runtime.wakeups.wake(uid, wake_key(body))


def wake_key(body: Mapping[str, Any]) -> object:
    """What users can request of an object. The operator's own status writes do not change it, so they do not wake the
    loop that wrote them."""
    meta = body["metadata"]
    annotations = meta.get("annotations") or {}
    asked = tuple(sorted((k, v) for k, v in annotations.items() if k.startswith(PREFIX)))
    return meta.get("generation"), asked, bool(meta.get("deletionTimestamp"))


@kopf.daemon(*AGD, cancellation_timeout=10)
async def keep(body: kopf.Body, uid: str, stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    runtime: Runtime = memo.runtime
    while not stopped:
        delay = await one_turn(runtime, uid, body)
        if stopped:
            break
        await runtime.wakeups.wait(uid, delay if delay is not None else runtime.settings.resync)


async def one_turn(runtime: Runtime, uid: str, body: kopf.Body) -> float | None:
    """A turn when one of the slots is free. A release that serves users needs none: its roll-back must not wait behind
    a fleet that starts."""
    if runtime.engine.serves_users(uid):
        return await runtime.engine.turn(body)
    async with runtime.turns:
        return await runtime.engine.turn(body)


@kopf.on.delete(*AGD, id="take-down")
async def removed(body: kopf.Body, uid: str, memo: kopf.Memo, **_: Any) -> None:
    runtime: Runtime = memo.runtime
    delay = await asyncio.shield(runtime.deleter.delete(body))
    if delay is not None:
        raise kopf.TemporaryError("not everything is gone yet; see the conditions", delay=delay)
    runtime.engine.forget(uid)

"""AgUiEnvironment and AgUiPolicy: kept in a directory. A change of what one says wakes the deployments that depend on
it; kopf calls an index at every event, those about annotations and the status included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kopf

from agui_operator.handlers.runtime import Runtime

AGENV = ("agui.dev", "v1alpha1", "aguienvironments")
_DELETION_RETRY = 3.0  # seconds
AGPOL = ("agui.dev", "v1alpha1", "aguipolicies")


@kopf.index(*AGENV)
async def environments(namespace: str | None, name: str, spec: kopf.Spec, memo: kopf.Memo, **_: Any) -> dict[str, int]:
    """An index, because kopf fills indices before it starts any daemon."""
    runtime: Runtime = memo.runtime
    if runtime.directory.put_environment(str(namespace), name, dict(spec)):
        runtime.wakeups.wake_each(runtime.references.environment_changed(str(namespace), name))
    return {f"{namespace}/{name}": 1}


@kopf.index(*AGPOL)
async def policies(name: str, spec: kopf.Spec, memo: kopf.Memo, **_: Any) -> dict[str, int]:
    runtime: Runtime = memo.runtime
    _policy_changed(runtime, runtime.directory.put_policy(name, dict(spec)))
    return {name: 1}


@kopf.on.event(*AGENV)
async def environment_seen(
    namespace: str | None,
    name: str,
    body: kopf.Body,
    memo: kopf.Memo,
    type: str,  # noqa: A002 - kopf's name
    **_: Any,
) -> None:
    runtime: Runtime = memo.runtime
    if type == "DELETED":
        runtime.environments.forget(str(body["metadata"]["uid"]))
        if runtime.directory.drop_environment(str(namespace), name):
            runtime.wakeups.wake_each(runtime.references.environment_changed(str(namespace), name))
    else:
        runtime.environments.seen(body)


@kopf.on.delete(*AGENV, id="wait-for-users")
async def environment_removed(namespace: str | None, name: str, memo: kopf.Memo, **_: Any) -> None:
    """An environment goes when no deployment needs it any more. Those that are being deleted do not: they know the
    place of their release themselves, so that both may be deleted in any order."""
    runtime: Runtime = memo.runtime
    users = runtime.references.users_of(str(namespace), name)
    if users:
        raise kopf.TemporaryError(f"deployments that need this environment: {', '.join(users)}", delay=_DELETION_RETRY)


@kopf.on.event(*AGPOL)
async def policy_seen(name: str, body: kopf.Body, memo: kopf.Memo, type: str, **_: Any) -> None:  # noqa: A002
    runtime: Runtime = memo.runtime
    if type == "DELETED":
        runtime.policies.forget(str(body["metadata"]["uid"]))
        _policy_changed(runtime, runtime.directory.drop_policy(name))
    else:
        runtime.policies.seen(body)


def _policy_changed(runtime: Runtime, patterns: Sequence[str]) -> None:
    runtime.wakeups.wake_each(runtime.references.in_namespaces(patterns))
    runtime.environments.refresh(patterns)

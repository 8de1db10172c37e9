"""Which change of a status is only a newer measurement. Pure.

An analysis looks every few seconds. Each write of the status wakes every reader and is a line of `kubectl get -w`; the
columns show neither the numbers nor the messages that quote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.core.merge import merge_patch


def only_measured(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True if nothing differs but what the analysis of the canary measured, and its verdict is the same."""
    verdict = _verdict(after)
    return verdict is not None and verdict == _verdict(before) and not merge_patch(_rest(before), _rest(after))


def _verdict(status: Mapping[str, Any]) -> Any:
    return _map(_map(status.get("rollout")).get("analysis")).get("verdict")


def _rest(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status without measurements and without what quotes them."""
    rest = {key: value for key, value in status.items() if key != "message"}
    rest["rollout"] = _without(status.get("rollout"), "analysis")
    rest["waitingFor"] = _without(status.get("waitingFor"), "what")
    rest["conditions"] = [_without(condition, "message") for condition in _list(status.get("conditions"))]
    return rest


def _without(raw: Any, left_out: str) -> dict[str, Any]:
    return {key: value for key, value in _map(raw).items() if key != left_out}


def _list(raw: Any) -> list[Any] | tuple[Any, ...]:
    return raw if isinstance(raw, list | tuple) else ()


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}

"""`agui-operator wait` follows an object through outages of the API server, and ends at its time-out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agui_operator.core.errors import ClusterUnreachable
from agui_operator.core.outcome import Exit
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.handlers import wait


def body(ready: str, stalled: str = "False") -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": ready, "observedGeneration": 1, "reason": "R", "message": "m"},
        {"type": "Stalled", "status": stalled, "observedGeneration": 1, "reason": "S", "message": "why"},
    ]
    status = {"observedGeneration": 1, "phase": "Staging", "message": "starting", "conditions": conditions}
    return {"metadata": {"generation": 1}, "status": status}


class Server:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def get_deployment(self, namespace: str, name: str) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def follow(*answers: Any, timeout: float = 60) -> tuple[Exit, str, list[str]]:
    said: list[str] = []
    outcome = await wait._follow(cast(Kube, Server(*answers)), "demo", "shop", timeout, said.append)
    return outcome.exit, outcome.message, said


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_PAUSE", 0.0)


async def test_outages_are_waited_out_and_progress_is_told_once() -> None:
    away, busy = ClusterUnreachable("the API server is away"), KubeError(503, "busy")
    ended, message, said = await follow(body("False"), body("False"), away, busy, body("True"))
    assert (ended, message) == (Exit.HEALTHY, "m")
    assert said == ["Staging: starting", "the API server is away", "Kubernetes API answered 503: busy"]


async def test_a_failure_and_a_missing_object_end_the_wait() -> None:
    assert (await follow(body("False"), body("False", "True")))[:2] == (Exit.FAILED, "S: why")
    assert (await follow(None))[:2] == (Exit.FAILED, "not found")


async def test_the_time_out_tells_what_was_seen_last() -> None:
    ended, message, _ = await follow(body("False"), timeout=0)
    assert (ended, message) == (Exit.TIMEOUT, "timed out after 0 s; last seen: Staging: starting")


async def test_a_refusal_is_not_waited_out() -> None:
    with pytest.raises(KubeError, match="no right"):
        await follow(KubeError(403, "no right"))

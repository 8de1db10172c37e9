"""Why a job failed is asked for once, and never while the release has users."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.cloud import run_v2

from agui_operator.api.policy import Diagnostics
from agui_operator.core.errors import CloudError
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import ExecutionView, JobView
from agui_operator.core.words import UNDISCLOSED, Disclosure
from agui_operator.engine.deployment import jobs
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import of_job
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest
from world_model import NAMES

FAILED = JobView("m", "image", True, ExecutionView("m-1", False, "it failed", log="log: here"))
LINES = Disclosure(Diagnostics.LOG_LINES)


class Tasks:
    """Answers `Tasks.ListTasks`, or refuses."""

    def __init__(self, answer: Any, log: Any = ()) -> None:
        self.answer, self.log, self.asked = answer, log, list[str]()

    async def rpc(self, method: str, request: Any, resource: str) -> Any:
        self.asked.append(f"{method} {request.parent.rpartition('/jobs/')[2]}")
        if isinstance(self.answer, Exception):
            raise self.answer
        tasks = [run_v2.Task(last_attempt_result=attempt) for attempt in self.answer]
        return run_v2.ListTasksResponse(tasks=tasks)

    async def rest(self, request: RestRequest) -> Any:
        self.asked.append(f"{request.method} {request.resource.rpartition('/jobs/')[2]}")
        if isinstance(self.log, Exception):
            raise self.log
        return {"entries": [{"textPayload": line} for line in reversed(self.log)]}


async def look(
    cloud: Tasks,
    phase: Phase = Phase.MIGRATING,
    job: JobView = FAILED,
    turns: int = 1,
    shown: Disclosure = UNDISCLOSED,
) -> ExecutionView:
    cache = ObjectCache("uid")
    cache.views.put_job("m", job)
    cache.views.mark_fresh(of_job("m"))
    scope = cast(
        Scope, SimpleNamespace(names=NAMES, blueprint=None, memory=SimpleNamespace(phase=phase), disclosure=shown)
    )
    for _ in range(turns):
        found = await jobs.look(cast(Cloud, cloud), scope, cache, "m")
    assert found is not None
    assert found.execution is not None
    return found.execution


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        ({"exit_code": 3}, "exit code 3: it failed (log: here)"),
        ({"term_signal": 9}, "signal 9 ended it (exit code 137): it failed (log: here)"),
        ({}, "it failed (log: here)"),
    ],
)
async def test_how_the_task_ended_is_asked_once(attempt: dict[str, int], text: str) -> None:
    cloud = Tasks([{}, attempt])
    assert (await look(cloud, turns=3)).why(UNDISCLOSED) == text
    assert cloud.asked == ["Tasks.ListTasks m/executions/m-1"]


async def test_a_refusal_changes_no_verdict() -> None:
    cloud = Tasks(CloudError(403, "no"))
    found = await look(cloud, turns=2)
    assert (found.succeeded, found.why(UNDISCLOSED), len(cloud.asked)) == (False, "it failed (log: here)", 1)


async def test_nobody_waits_for_it_while_the_release_has_users() -> None:
    cloud = Tasks([{"exit_code": 3}], ["last words"])
    assert await look(cloud, Phase.BAKING, shown=LINES) == FAILED.execution
    assert cloud.asked == []


async def test_the_last_lines_are_read_once_and_only_where_they_may_be_shown() -> None:
    cloud = Tasks([{"exit_code": 3}], ["starting", "column email already exists"])
    shown = (await look(cloud, turns=3, shown=LINES)).why(LINES)
    assert shown == (
        "exit code 3: it failed (log: here); last lines of the log: starting | column email already exists"
    )
    assert cloud.asked == ["Tasks.ListTasks m/executions/m-1", "logging.entries.list m/executions/m-1"]
    cloud = Tasks([{"exit_code": 3}], ["starting"])
    assert (await look(cloud, shown=Disclosure(Diagnostics.MESSAGES))).why(
        LINES
    ) == "exit code 3: it failed (log: here)"
    assert cloud.asked == ["Tasks.ListTasks m/executions/m-1"]


async def test_a_log_that_cannot_be_read_changes_nothing() -> None:
    cloud = Tasks([{"exit_code": 3}], CloudError(403, "logging.logEntries.list"))
    found = await look(cloud, turns=2, shown=LINES)
    assert (found.succeeded, found.why(LINES)) == (False, "exit code 3: it failed (log: here)")
    assert len(cloud.asked) == 2


async def test_what_never_ran_or_did_not_fail_has_no_exit_code() -> None:
    cloud = Tasks([{"exit_code": 3}])
    assert FAILED.execution is not None
    for execution in (ExecutionView("", False, "no image", count=0), ExecutionView("m-1", True)):
        assert (await look(cloud, job=replace(FAILED, execution=execution))).why(LINES) == execution.why(LINES)
    assert cloud.asked == []

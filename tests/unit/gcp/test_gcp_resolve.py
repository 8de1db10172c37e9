"""Image references, and backups and operations as Google tells them."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from google.cloud import run_v2
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from agui_operator.core.snapshot import BackupView, ExecutionView, ServiceView
from agui_operator.core.words import Words
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.pinning.images import split_image
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.rest import RestRequest

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("us-docker.pkg.dev/p/r/app:v1", ("us-docker.pkg.dev/p/r/app", "v1", "")),
        ("us-docker.pkg.dev/p/r/app", ("us-docker.pkg.dev/p/r/app", "latest", "")),
        (f"us-docker.pkg.dev/p/r/app@{DIGEST}", ("us-docker.pkg.dev/p/r/app", "", DIGEST)),
        (f"us-docker.pkg.dev/p/r/app:v1@{DIGEST}", ("us-docker.pkg.dev/p/r/app", "v1", DIGEST)),
        ("localhost:5000/app:v1", ("localhost:5000/app", "v1", "")),
        ("library/nginx:1.27", ("docker.io/library/nginx", "1.27", "")),
    ],
)
def test_split_image(image: str, parts: tuple[str, str, str]) -> None:
    assert split_image(image) == parts


@pytest.mark.parametrize(
    ("status", "succeeded"),
    [("SUCCESSFUL", True), ("FAILED", False), ("SKIPPED", False), ("RUNNING", None), ("ENQUEUED", None), ("NEW", None)],
)
def test_a_backup_has_three_outcomes(status: str, succeeded: bool | None) -> None:
    run = {"id": "7", "status": status, "error": {"message": "disk"}}
    assert sql_backup.view_of(run) == BackupView("7", succeeded, Words.of_api("disk"))


def run_operation(response: Any = None, error: Any = None, metadata: Any = None, done: bool = True) -> Any:
    made = operations_pb2.Operation(name="projects/p/locations/r/operations/1", done=done)
    if response is not None:
        made.response.Pack(type(response).pb(response))
    if error is not None:
        made.error.CopyFrom(error)
    if metadata is not None:
        made.metadata.Pack(type(metadata).pb(metadata))
    return made


def execution(state: run_v2.Condition.State) -> run_v2.Execution:
    return run_v2.Execution(
        name="a/executions/e1", conditions=[{"type_": "Completed", "state": state, "message": "exit 3"}]
    )


FAILED = status_pb2.Status(code=9, message="not ready")


def test_how_a_run_operation_ended() -> None:
    assert operations.result_of(run_operation(done=False)) == operations.OperationResult(False)
    service = operations.result_of(run_operation(run_v2.Service(name="a/services/s")))
    assert isinstance(service.view, ServiceView)
    assert (service.done, service.error, service.view.name) == (True, None, "s")
    failed = operations.result_of(run_operation(error=FAILED, metadata=run_v2.Service(name="a/services/s")))
    assert failed.error is not None
    assert (failed.view, failed.error.code, failed.error.status) == (None, 400, "FAILED_PRECONDITION")


def test_a_failed_execution_is_a_view_and_one_that_never_ran_an_error() -> None:
    state = run_v2.Condition.State
    ended = operations.result_of(run_operation(error=FAILED, metadata=execution(state.CONDITION_FAILED)))
    where = """log: gcloud logging read 'labels."run.googleapis.com/execution_name"="e1"' --project=a"""
    view = ExecutionView("e1", False, said=Words.of_workload("exit 3"), log=where)
    assert ended == operations.OperationResult(True, None, view)
    lost = operations.result_of(run_operation(error=FAILED, metadata=execution(state.CONDITION_RECONCILING)))
    assert lost.error is not None


def test_an_open_operation_shows_what_was_accepted() -> None:
    open_one = run_operation(metadata=run_v2.Service(name="a/services/s", etag="e"), done=False)
    view = operations.started_view(open_one)
    assert isinstance(view, ServiceView)
    assert view.etag == "e"
    assert operations.started_view(run_operation(done=False)) is None
    assert operations.started_view(run_operation(metadata=run_v2.Service(), done=False)) is None


@pytest.mark.parametrize("read", [operations.compute_result, operations.sql_result])
def test_older_operations(read: Any) -> None:
    assert read({"status": "RUNNING"}).done is False
    assert read({"status": "DONE"}) == operations.OperationResult(True)
    errors = {"errors": [{"code": "RESOURCE_IN_USE", "message": "busy"}]}
    failed = read({"status": "DONE", "error": errors, "operationType": "patch"})
    assert failed.done
    assert (failed.error.status, failed.error.code) == ("RESOURCE_IN_USE", 500)


class Answers:
    """A cloud that answers REST calls from a list and remembers them."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.left = list(answers)
        self.asked: list[str] = []

    async def rest(self, request: RestRequest) -> dict[str, Any]:
        self.asked.append(f"{request.method} {request.path}")
        return self.left.pop(0)


async def test_a_database_operation_is_asked_for_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    cloud = Answers(*[{"status": "RUNNING"}] * 9, {"status": "DONE"})
    result = await operations.wait(cloud, "sqladmin:demo/op-1", 600)  # type: ignore[arg-type]
    assert result.done
    assert pauses[0] == 2.0  # nothing ends before
    assert pauses[1:] == [1.0, 1.5, 2.25, 3.375, 5.062, 7.594, 11.391, 15.0, 15.0]
    assert set(cloud.asked) == {"sqladmin.operations.get /v1/projects/demo/operations/op-1"}


async def test_an_answer_that_did_not_wait_is_not_asked_for_in_a_tight_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    cloud = Answers(*[{"status": "RUNNING"}] * 3, {"status": "DONE"})
    result = await operations.wait(cloud, "compute:demo/op-1", 600)  # type: ignore[arg-type]
    assert result.done
    assert len(pauses) == 3
    assert pauses[0] > 0
    assert [round(b / a, 1) for a, b in pairwise(pauses)] == [1.5, 1.5]
    path = "/compute/v1/projects/demo/global/operations/op-1/wait"
    assert cloud.asked == [f"compute.globalOperations.wait {path}"] * 4


async def test_a_regional_operation_is_waited_for_in_its_region() -> None:
    operation = {"name": "op-2", "region": "https://www.googleapis.com/compute/v1/projects/demo/regions/us-central1"}
    name = operations.compute_name("demo", operation)
    cloud = Answers({"status": "DONE"})
    assert (await operations.wait(cloud, name, 600)).done  # type: ignore[arg-type]
    path = "/compute/v1/projects/demo/regions/us-central1/operations/op-2/wait"
    assert cloud.asked == [f"compute.regionOperations.wait {path}"]

"""Long-running operations: they end, once, and tell what came of them, also across a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from localgcp.kit.errors import ApiError, failed_precondition
from localgcp.kit.operations import Operation, Operations
from localgcp.kit.settings import Settings
from localgcp.kit.store import Store

PARENT = "projects/p/locations/l"


Opener = Callable[..., Operations]


@pytest.fixture
async def operations(tmp_path: Path) -> AsyncIterator[Opener]:
    """Operations on one store file, as runs of localgcp have them one after the other."""
    async with AsyncExitStack() as stack:

        def opened(lro_seconds: float = 0.0) -> Operations:
            store = stack.enter_context(closing(Store(tmp_path / "s.sqlite3")))
            known = Operations(store, Settings(tmp_path, lro_seconds=lro_seconds))
            stack.push_async_callback(known.stop)
            return known

        yield opened


async def work(operation: Operation) -> Any:
    return {"answer": 42}


async def test_quick_work_is_done_in_the_first_reply(operations: Opener) -> None:
    operation = await operations().start("k", PARENT, "t", work, {"about": "t"})
    assert operation.done
    response = struct_pb2.Struct()
    assert operation.pb.response.Unpack(response)
    assert response["answer"] == 42
    assert operation.name.startswith(f"{PARENT}/operations/")


async def test_an_operation_takes_its_time(operations: Opener) -> None:
    known = operations(lro_seconds=0.1)
    operation = await known.start("k", PARENT, "t", work)
    assert not operation.done
    assert not (await known.wait(operation.name, 0.01)).done
    assert (await known.wait(operation.name, 5)).done
    assert known.get(operation.name).finished >= operation.created + 0.09


async def test_failures_become_the_error(operations: Opener) -> None:
    async def fails(operation: Operation) -> Any:
        raise failed_precondition("not today")

    async def bug(operation: Operation) -> Any:
        raise RuntimeError("secret detail")

    known = operations()
    refused = await known.start("k", PARENT, "t", fails)
    assert (refused.error().code, refused.error().message) == (
        grpc.StatusCode.FAILED_PRECONDITION.value[0],
        "not today",
    )
    broken = await known.start("k", PARENT, "t", bug)
    assert broken.error().code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret detail" not in broken.error().message


async def test_cancel(operations: Opener) -> None:
    known = operations(lro_seconds=60)
    operation = await known.start("k", PARENT, "t", work)
    await known.cancel(operation.name)
    ended = await known.wait(operation.name, 5)
    assert ended.error().code == grpc.StatusCode.CANCELLED.value[0]


async def test_a_restart_takes_up_what_it_can_and_ends_the_rest(operations: Opener) -> None:
    before = operations(lro_seconds=60)
    resumed = await before.start("can", PARENT, "t", work)
    lost = await before.start("cannot", PARENT, "t", work)
    await before.stop()
    after = operations()
    seen: list[str] = []

    async def again(operation: Operation) -> Any:
        seen.append(operation.target)
        return None

    after.resume("can", again)
    after.recover()
    await after.wait(resumed.name, 5)
    assert seen == ["t"]
    assert after.get(resumed.name).error() is None
    error = after.get(lost.name).error()
    assert error.code == grpc.StatusCode.ABORTED.value[0]
    assert "restarted" in error.message


async def test_list_newest_first_and_delete(operations: Opener) -> None:
    known = operations()
    names = [(await known.start("k", PARENT, target, work)).name for target in ("a", "b")]
    await known.start("k", "projects/other/locations/l", "a", work)
    assert [operation.name for operation in known.list(PARENT)] == names[::-1]
    assert [operation.name for operation in known.list(PARENT, target="a")] == names[:1]
    known.delete(names[0])
    with pytest.raises(ApiError, match="was not found"):
        known.get(names[0])


async def test_many_waiters_wake_together(operations: Opener) -> None:
    known = operations(lro_seconds=0.05)
    operation = await known.start("k", PARENT, "t", work)
    ended = await asyncio.gather(*(known.wait(operation.name, 5) for _ in range(20)))
    assert all(one.done for one in ended)

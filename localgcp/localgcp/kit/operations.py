"""Long-running operations: work that continues after the first reply, as in google.longrunning.

The record is durable. Work that a killed localgcp left unfinished is resumed by the *resumer* of its kind. Without one,
the operation ends in ABORTED with a message that says so: no operation stays open for ever.
Source: https://google.aip.dev/151
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, struct_pb2

from localgcp.kit.errors import ApiError, not_found

if TYPE_CHECKING:
    from localgcp.kit.settings import Settings
    from localgcp.kit.store import Store

_log = logging.getLogger(__name__)
_INLINE_SECONDS = 0.05  # with lro_seconds 0, work that is this fast is done in the first reply
_KEPT_SECONDS = 86_400.0


class Operation:
    """One operation. `pb` is the google.longrunning.Operation; `kind` names the work ("run.service"), `target` the
    resource it is about; `created` and `finished` are Unix times (finished 0: still open).
    `resumed`: an earlier run of localgcp has begun the work, and may have done any part of it."""

    def __init__(self, pb: Any, kind: str, target: str, created: float, finished: float = 0.0) -> None:
        self.pb, self.kind, self.target, self.created, self.finished = pb, kind, target, created, finished
        self.resumed = False

    @property
    def name(self) -> str:
        return str(self.pb.name)

    @property
    def done(self) -> bool:
        return bool(self.pb.done)

    def about(self, message: Any) -> Any:
        """The operation's metadata, unpacked into `message`: the resource as it was when the operation began."""
        self.pb.metadata.Unpack(message)
        return message

    def error(self) -> Any | None:
        """google.rpc.Status of a failed operation."""
        return self.pb.error if self.pb.WhichOneof("result") == "error" else None


Work = Callable[[Operation], Awaitable[Any]]
"""Does the work and returns the response: a message, a JSON object (kept as Struct) or None. Raises ApiError to fail.
It may replace `operation.pb.metadata` meanwhile (see `Operations.note`)."""


class Operations:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._table = store.json("operations")
        self._settings = settings
        self._open: dict[str, tuple[Operation, asyncio.Task[None]]] = {}
        self._resumers: dict[str, Work] = {}

    def resume(self, kind: str, work: Work) -> None:
        """Registers how unfinished operations of a kind are resumed after a restart."""
        self._resumers[kind] = work

    @property
    def resumable(self) -> frozenset[str]:
        """The kinds of operations that go on after a restart."""
        return frozenset(self._resumers)

    def recover(self) -> None:
        """Resumes or ends the operations that the last run of localgcp left open. Called once, in an event loop."""
        for key, record in list(self._table.items()):
            operation = _restored(record)
            if operation.done:
                if time.time() - operation.finished > _KEPT_SECONDS:
                    self._table.delete(key)
            elif (work := self._resumers.get(operation.kind)) is not None:
                operation.resumed = True
                self._spawn(operation, work)
            else:
                error = ApiError(grpc.StatusCode.ABORTED, "localgcp was restarted while this operation was running")
                self._finish(operation, error=error)

    def begin(
        self, kind: str, parent: str, target: str, work: Work, metadata: Any = None, *, name: str = ""
    ) -> Operation:
        """Records an operation `{parent}/operations/{id}` (or `name`) and starts its work, which begins after
        lro_seconds. A caller that stores what the operation is about does both in one transaction of the store: a
        killed localgcp then leaves both or neither. Follow with `settled`."""
        operation = Operation(operations_pb2.Operation(), kind, target, time.time())
        operation.pb.name = name or f"{parent}/operations/{uuid.uuid4()}"
        if (packed := _pack(metadata)) is not None:
            operation.pb.metadata.CopyFrom(packed)
        self._save(operation)
        self._spawn(operation, work, self._settings.lro_seconds)
        return operation

    async def settled(self, operation: Operation) -> Operation:
        """The operation as the first reply shows it: done already when operations take no time and the work was
        quick."""
        if self._settings.lro_seconds <= 0 and operation.name in self._open:
            await asyncio.wait({self._open[operation.name][1]}, timeout=_INLINE_SECONDS)
        return operation

    async def start(
        self, kind: str, parent: str, target: str, work: Work, metadata: Any = None, *, name: str = ""
    ) -> Operation:
        """`begin` and `settled` for an operation that has nothing else to store."""
        return await self.settled(self.begin(kind, parent, target, work, metadata, name=name))

    def finished(self, kind: str, parent: str, target: str, response: Any = None, metadata: Any = None) -> Operation:
        """An operation that is done from the start (validate_only, or nothing to do)."""
        operation = Operation(operations_pb2.Operation(), kind, target, time.time())
        operation.pb.name = f"{parent}/operations/{uuid.uuid4()}"
        if (packed := _pack(metadata)) is not None:
            operation.pb.metadata.CopyFrom(packed)
        self._finish(operation, response=response)
        return operation

    def note(self, operation: Operation, metadata: Any) -> None:
        """Replaces an open operation's metadata."""
        operation.pb.metadata.CopyFrom(_pack(metadata) or any_pb2.Any())
        self._save(operation)

    def get(self, name: str) -> Operation:
        """Raises ApiError NOT_FOUND."""
        if name in self._open:
            return self._open[name][0]
        record = self._table.get(name)
        if record is None:
            raise not_found(f"Operation '{name}' was not found")
        return _restored(record)

    def list(self, parent: str = "", target: str = "") -> list[Operation]:
        """Newest first."""
        found = [self.get(key) for key, record in self._table.items(parent) if target in ("", record["target"])]
        return sorted(found, key=newest_first)

    async def wait(self, name: str, timeout: float) -> Operation:
        """Returns as soon as the operation is done, or after `timeout` seconds."""
        operation = self.get(name)
        if not operation.done and name in self._open:
            await asyncio.wait({self._open[name][1]}, timeout=timeout)
        return operation

    def delete(self, name: str) -> None:
        self.get(name)
        self._table.delete(name)

    async def cancel(self, name: str) -> None:
        """Cancels the work, if it is still open, and waits for its end."""
        self.get(name)
        if name in self._open:
            operation, task = self._open[name]
            task.cancel()
            await asyncio.wait({task})
            if not operation.done:  # the task had not started, so it could not end the operation
                self._finish(operation, error=_cancelled())

    async def stop(self) -> None:
        """Leaves open operations to the next start: their tasks end here, their records stay open."""
        tasks = [task for _, task in self._open.values()]
        self._open.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, operation: Operation, work: Work, delay: float = 0.0) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(operation, work, delay), name=operation.name)
        self._open[operation.name] = (operation, task)
        return task

    async def _run(self, operation: Operation, work: Work, delay: float) -> None:
        try:
            if delay > 0:
                await asyncio.sleep(delay)
            response = await work(operation)
        except ApiError as error:
            self._finish(operation, error=error)
        except asyncio.CancelledError:
            if operation.name in self._open:  # cancelled by a caller, not by the end of localgcp
                self._finish(operation, error=_cancelled())
            raise
        except Exception:
            _log.exception("operation %s (%s) failed unexpectedly", operation.name, operation.kind)
            self._finish(operation, error=ApiError(grpc.StatusCode.INTERNAL, "internal error; see localgcp's log"))
        else:
            self._finish(operation, response=response)

    def _finish(self, operation: Operation, *, response: Any = None, error: ApiError | None = None) -> None:
        if error is not None:
            operation.pb.error.CopyFrom(error.status())
        else:
            operation.pb.response.CopyFrom(_pack(response) or any_pb2.Any())
        operation.pb.done = True
        operation.finished = time.time()
        self._save(operation)
        self._open.pop(operation.name, None)

    def _save(self, operation: Operation) -> None:
        record = {
            "pb": operation.pb.SerializeToString().hex(),
            "kind": operation.kind,
            "target": operation.target,
            "created": operation.created,
            "finished": operation.finished,
        }
        with contextlib.suppress(ValueError):
            self._table.put(operation.name, record)


def newest_first(operation: Operation) -> tuple[float, str]:
    """The order of lists of operations."""
    return -operation.created, operation.name


def _cancelled() -> ApiError:
    return ApiError(grpc.StatusCode.CANCELLED, "the operation was cancelled")


def _restored(record: Mapping[str, Any]) -> Operation:
    pb = operations_pb2.Operation.FromString(bytes.fromhex(record["pb"]))
    return Operation(pb, record["kind"], record["target"], record["created"], record["finished"])


def _pack(message: Any) -> Any | None:
    if message is None:
        return None
    if isinstance(message, Mapping):
        struct = struct_pb2.Struct()
        struct.update(dict(message))
        message = struct
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed

"""Job tasks: a container that runs to its end, with a deadline and a way to cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from localgcp.kit.interfaces import RevisionProcess, TaskResult, Workload
from localgcp.services.run.runtime.instances import Host, InstanceFailed, launch, log_file, tail
from localgcp.services.run.runtime.tether import Child

_TAIL_LINES = 20
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL, as Cloud Run gives a task
_TIMED_OUT = 124  # exit code of a task that was stopped at its deadline and did not choose one itself


class Tasks:
    """Running tasks by execution."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: dict[Workload, set[Child]] = {}

    async def run(self, spec: RevisionProcess, env: Mapping[str, str], timeout: float) -> TaskResult:
        """Runs one task to its end; a task past `timeout` gets SIGTERM and is never a success."""
        execution = spec.workload
        index, attempt = env.get("CLOUD_RUN_TASK_INDEX", "0"), env.get("CLOUD_RUN_TASK_ATTEMPT", "0")
        log = log_file(self._host.logs, spec, f"task-{index}-{attempt}", is_job=True)
        began = time.monotonic()
        try:
            child = launch(spec, self._host, log, {**spec.image.env, **spec.env, **env})
        except InstanceFailed as failure:
            return TaskResult(127, (str(failure),), 0.0)
        running = self._running.setdefault(execution, set())
        running.add(child)
        try:
            code = await self._finish(child, timeout)
        except asyncio.CancelledError:
            child.kill()
            await asyncio.shield(child.exited)
            raise
        finally:
            running.discard(child)
            if not running:
                self._running.pop(execution, None)
        return TaskResult(code, tail(log, _TAIL_LINES), time.monotonic() - began)

    async def cancel(self, execution: Workload) -> None:
        """Stops every running task of an execution and waits for the end of them."""
        await asyncio.gather(*(child.stop(_GRACE) for child in list(self._running.get(execution, ()))))

    async def cancel_all(self, grace: float) -> None:
        children = [child for running in self._running.values() for child in running]
        await asyncio.gather(*(child.stop(grace) for child in children))

    async def _finish(self, child: Child, timeout: float) -> int:
        try:
            return await asyncio.wait_for(asyncio.shield(child.exited), timeout)
        except TimeoutError:
            return await child.stop(_GRACE) or _TIMED_OUT

"""Follows one object with `kubectl get --watch`, as a person at a terminal would."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


class Watch:
    """The newest state of one AgUiDeployment, and a way to wait for a state."""

    def __init__(self, kubectl: Path, kubeconfig: Path, namespace: str, name: str) -> None:
        self._command = [str(kubectl), "--kubeconfig", str(kubeconfig), "-n", namespace]
        self._command += ["get", "agd", f"--field-selector=metadata.name={name}", "-o", "json", "--watch"]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self.object: dict[str, Any] = {}
        self.first_seen: dict[int, float] = {}  # generation -> Unix time of its watch event
        self.on_change: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.object.get("status") or {})

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def until(self, what: str, test: Callable[[dict[str, Any]], bool], timeout: float) -> dict[str, Any]:
        """The object as soon as `test` holds. Raises TimeoutError that says what was waited for and what was seen."""
        try:
            async with asyncio.timeout(timeout):
                async with self._changed:
                    await self._changed.wait_for(lambda: bool(self.object) and test(self.object))
                    return self.object
        except TimeoutError:
            status = self.status
            seen = f"phase {status.get('phase')}, {status.get('message')}"
            raise TimeoutError(f"{what} did not happen within {timeout:g} s; last seen: {seen}") from None

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        decoder, buffer = json.JSONDecoder(), ""
        while chunk := await self._process.stdout.read(65536):
            buffer += chunk.decode()
            while buffer.lstrip():
                buffer = buffer.lstrip()
                try:
                    document, end = decoder.raw_decode(buffer)
                except json.JSONDecodeError:
                    break
                buffer = buffer[end:]
                self.first_seen.setdefault(int(document["metadata"]["generation"]), time.time())
                async with self._changed:
                    self.object = document
                    self._changed.notify_all()
                if self.on_change is not None:
                    await self.on_change(document)

"""One page of a headless Chromium, driven by the DevTools protocol: look at it, ask it, photograph it.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agui_dev.setup.browser import find

_START_SECONDS = 30.0


class Page:
    """A tab. `problems` are what it wrote to the console as an error, violations of its security policy included."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.problems: list[str] = []
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def start(self) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def call(self, method: str, **params: Any) -> Any:
        """One call of the protocol. Raises RuntimeError with what the browser objects to."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return await asyncio.wait_for(self._answers[number], 30)

    async def look(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """How large the screen is, and what the person prefers."""
        scale = 2 if phone else 1
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    async def open(self, url: str, *, script: bool = True) -> None:
        """Returns when the page is loaded."""
        await self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("text", "") + str(answer["result"].get("description")))
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 10) -> None:
        """Waits for an expression to be true. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while not await self.ask(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} did not become true within {seconds:g} s")
            await asyncio.sleep(0.05)

    async def photograph(self, path: Path, *, whole: bool = True) -> None:
        """Writes a PNG of the whole page, or of what the screen shows of it."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _read(self) -> None:
        async for message in self._socket:
            answer = message.json()
            if "id" in answer:
                waiting = self._answers.pop(answer["id"])
                if "error" in answer:
                    waiting.set_exception(RuntimeError(str(answer["error"])))
                else:
                    waiting.set_result(answer["result"])
            elif answer["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif answer["method"] == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.problems.append(answer["params"]["entry"]["text"])
            elif answer["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(answer["params"]["exceptionDetails"].get("exception", {}).get("description")))


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A browser with one page, ended with the block. Raises FileNotFoundError where there is no Chromium."""
    found = find()
    if found is None:
        raise FileNotFoundError("no chromium on the PATH")
    with tempfile.TemporaryDirectory(prefix="agui-browser-", ignore_cleanup_errors=True) as folder:
        command = [str(found), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--hide-scrollbars", "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        child = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession() as session:
                address = await _page_address(session, Path(folder), child)
                async with session.ws_connect(address, max_msg_size=64 * 2**20) as socket:
                    page = Page(socket)
                    await page.start()
                    try:
                        yield page
                    finally:
                        await page.close()
        finally:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


async def _page_address(session: aiohttp.ClientSession, folder: Path, child: subprocess.Popen[bytes]) -> str:
    """Where the first page listens; Chromium writes its port into a file when it is up."""
    deadline = time.monotonic() + _START_SECONDS
    note = folder / "DevToolsActivePort"
    while not (note.exists() and note.read_text().strip()):
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("chromium did not start")
        await asyncio.sleep(0.05)
    port = note.read_text().split()[0]
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = await answer.json(content_type=None)
    return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")

"""Tabs of a real Chromium, driven from Python: the other half of frontend/e2e/tabs.mjs."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agui_dev.setup.node import FRONTEND

_SECONDS = 90.0


class BrowserTabs:
    """One browser. Each method is one thing that a person does in a tab; tabs are made when they are first named."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def open(self, tab: str) -> str:
        """Loads the page; the version that it shows."""
        return str(self._ask("open", tab)["version"])

    def say(self, tab: str, words: str, hear: str) -> int:
        """Says something and waits for the whole answer; how many turns the conversation has then."""
        return int(self._ask("say", tab, words=words, hear=hear)["turns"])

    def load(self, tab: str, paths: list[str]) -> list[str]:
        """Imports scripts as the page does with its later parts; what failed."""
        return list(self._ask("import", tab, paths=paths)["failed"])

    def reload(self, tab: str, turns: int) -> str:
        """Loads the page again and waits until it shows so many turns; the version that it shows then."""
        return str(self._ask("reload", tab, turns=turns)["version"])

    def troubles(self, tab: str) -> list[str]:
        """Requests that failed and scripts that threw, since the tab was made."""
        return list(self._ask("facts", tab)["troubles"])

    def assets(self, tab: str) -> set[str]:
        """Paths of the files that the tab got."""
        return set(self._ask("facts", tab)["assets"])

    def _ask(self, command: str, tab: str, **more: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, "tab": tab, **more}) + "\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=_SECONDS)
        except queue.Empty:
            raise AssertionError(f"{command} in tab {tab} took more than {_SECONDS:g} s") from None
        assert line is not None, f"the browser ended:\n{self._log.read_text()[-2000:]}"
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, f"{command} in tab {tab}: {answer['error']}"
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)


@contextmanager
def browser_tabs(origin: str, folder: Path) -> Iterator[BrowserTabs]:
    """A browser for pages of `origin`; it ends with the block."""
    log = folder / "tabs.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["node", "e2e/tabs.mjs", origin],
            cwd=FRONTEND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        yield BrowserTabs(process, log)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(10)
        process.stdout.close()

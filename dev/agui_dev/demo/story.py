"""The five releases of the demo and what must come of each."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from agui_dev.demo import figures
from agui_dev.demo.figures import Step
from agui_dev.demo.load import Load
from agui_dev.demo.screen import Screen
from agui_dev.demo.watch import Watch
from agui_dev.testbed.world import World

TITLES = {
    "v1": "v1: the first release",
    "v2": "v2: a good release with an additive migration",
    "v3": "v3: a release whose agent is broken",
    "v4": "v4: a release that degrades under traffic",
    "v5": "v5: the fix, over the rejected release",
}
OUTCOMES = {"v1": "Healthy", "v2": "Healthy", "v3": "RolledBack", "v4": "RolledBack", "v5": "Healthy"}
LIMIT = 120.0  # seconds for one chapter


class Story:
    """Plays the chapters in order and keeps their figures."""

    def __init__(self, world: World, screen: Screen, watch: Watch, load: Load) -> None:
        self._world, self._screen, self._watch, self._load = world, screen, watch, load
        self.steps: list[Step] = []

    async def play(self) -> list[Step]:
        for version in TITLES:
            step = await self._chapter(version)
            self.steps.append(step)
            reason = step.notes or step.outcome
            mark = "[green]as expected[/green]" if step.as_expected else f"[red]not as expected: {reason}[/red]"
            self._screen.line(f"{step.name}: {step.outcome} after {step.seconds:.1f} s, {step.calls} calls, {mark}")
        return self.steps

    async def _chapter(self, version: str) -> Step:
        step = Step(name=TITLES[version], expected=OUTCOMES[version])
        self._screen.chapter(TITLES[version])
        before = self._watch.status
        tally = self._load.begin_step()
        position = await asyncio.to_thread(lambda: self._world.cloud.last)
        began = time.monotonic()
        await asyncio.to_thread(self._world.apply, self._world.release(version))
        try:
            document = await self._watch.until(f"{version} {step.expected}", _ended(version, before), LIMIT)
        except TimeoutError as exc:
            step.outcome = str(self._watch.status.get("phase"))
            step.notes.append(str(exc))
            return step
        step.seconds = round(time.monotonic() - began, 1)
        status = document["status"]
        step.outcome = str(status["phase"])
        entries = [e for e in await asyncio.to_thread(self._world.cloud.ledger, position) if self._is_operator(e)]
        step.calls = figures.calls(entries)
        accepted = self._watch.first_seen[int(document["metadata"]["generation"])]
        step.first_write_ms = figures.first_write_ms(entries, accepted)
        step.restore_ms = figures.restore_ms(status)
        await self._prove(version, step, before, status)
        step.requests, step.failed = tally.total, tally.failed
        if version != "v4" and tally.failed:
            step.notes.append(f"{tally.failed} failed requests: {dict(tally.failures)}")
        return step

    def _is_operator(self, entry: dict[str, Any]) -> bool:
        return "agui-operator" in str(entry.get("caller", ""))

    async def _prove(self, version: str, step: Step, before: dict[str, Any], status: dict[str, Any]) -> None:
        """What each chapter promises beyond its phase."""
        if version == "v1":
            await asyncio.to_thread(self._page_and_api, step)
            await self._load.start()
            self._screen.line(f"an old tab is open: {', '.join(await self._load.open_tab())}")
            return
        if OUTCOMES[version] == "Healthy":
            await self._load.open_tab()
            return
        if status.get("stable") != before.get("stable"):
            step.notes.append("the stable release changed")
        cause = (status.get("rollout") or {}).get("cause") or {}
        wanted = {"v3": "SmokeFailed", "v4": "AnalysisFailed"}[version]
        if cause.get("reason") != wanted:
            step.notes.append(f"taken back for {cause.get('reason')}, expected {wanted}")
        release = (status.get("rejected") or {}).get("release", "?")
        served = sum(n for revision, n in self._load.overall.by_revision.items() if revision.endswith(f"-{release}"))
        if version == "v3" and served:
            step.notes.append(f"{served} requests of users reached the broken release")
        self._screen.line(f"[dim]{cause.get('message')}[/dim]")

    def _page_and_api(self, step: Step) -> None:
        for path, what in (("/", "page"), ("/api/orders/1", "API")):
            try:
                with urllib.request.urlopen(self._world.edge + path, timeout=10) as response:
                    response.read()
            except OSError as exc:
                step.notes.append(f"the {what} did not answer at {path}: {exc}")

    def served_by(self, version: str) -> int:
        """Requests of users that the rejected release of a version answered."""
        history = self._watch.status.get("history") or []
        names = {e["release"]["id"] for e in history if _same_version(e["release"], version)}
        return sum(n for revision, n in self._load.overall.by_revision.items() if revision.rsplit("-", 1)[-1] in names)


def _same_version(release: dict[str, Any], version: str) -> bool:
    return str(release.get("version", "")).startswith(version.removeprefix("v"))


def _ended(version: str, before: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """True when this chapter's rollout is over: a new history entry, and the status is about the newest spec."""
    seen = len(before.get("history") or [])
    newest = (before.get("history") or [{}])[0]

    def test(document: dict[str, Any]) -> bool:
        status = document.get("status") or {}
        history = status.get("history") or []
        current = status.get("observedGeneration") == document["metadata"]["generation"]
        fresh = bool(history) and (len(history) > seen or history[0] != newest)
        return current and fresh and status.get("phase") in ("Healthy", "RolledBack", "Failed")

    return test

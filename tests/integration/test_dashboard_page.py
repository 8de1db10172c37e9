"""The dashboard in a real browser: it follows by itself, keeps the focus, fits a phone, runs nothing of an object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from agui_dev.paths import ROOT
from agui_dev.screenshots.browser import Page, browser
from agui_dev.setup.browser import find
from agui_operator.core.analysis import Limit, Sample, Window
from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import Presence
from agui_operator.dashboard.site import Site
from dashboard_objects import NOW, body, status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find() is None, reason="no Chromium on this machine"),
]
UID = "uid-demo-shop"
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
LIVE = "document.querySelector('.live').dataset.liveState === 'on'"


@dataclass(slots=True)
class Open:
    """A board and a browser that looks at it."""

    board: Board
    page: Page
    address: str

    async def at(self, path: str, *, script: bool = True) -> None:
        await self.page.open(self.address + path, script=script)
        if script:
            await self.page.until(LIVE)

    def write(self, phase: str, name: str = "shop", **parts: Any) -> None:
        self.board.status_written("demo", name, f"uid-demo-{name}", status(phase, **parts))


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    board = Board()
    site = Site(board, lambda: Presence.ACTIVE)
    port = await site.start("127.0.0.1", 0)
    try:
        async with browser() as page:
            await page.look(width=1280, height=800)
            yield Open(board, page, f"http://127.0.0.1:{port}")
    finally:
        await site.stop()


async def test_the_list_and_the_page_follow_without_a_reload(opened: Open) -> None:
    page = opened.page
    for name in ("alpha", "shop"):
        opened.board.seen(body(name))
        opened.write("Healthy", name)
    await opened.at("/")
    await page.ask("window.same = true; document.querySelector('#r-2 a').focus()")
    opened.write("RolledBack")
    await page.until("document.querySelector('tbody tr').id === 'r-2'")
    assert await page.ask("document.querySelector('#r-2 .phase').textContent") == "RolledBack"
    assert await page.ask("document.activeElement.closest('tr').id") == "r-2", "the focus stays where it was"
    opened.board.seen(body("newest"))
    await page.until("document.querySelectorAll('tbody tr').length === 3")
    opened.board.gone("uid-demo-alpha")
    await page.until("document.querySelectorAll('tbody tr').length === 2")
    assert await page.ask("window.same") is True, "the page was loaded again"

    await opened.at("/d/demo/shop")
    opened.write("Progressing", rollout={"step": 1, "weight": 10})
    await page.until("document.querySelector('.steps [aria-current]')?.textContent.includes('Verdict')")
    opened.board.gone(UID)
    await page.until("!document.getElementById('gone').hidden")
    assert page.problems == []


async def test_nothing_of_an_object_runs_and_the_policy_would_stop_it(opened: Open) -> None:
    page = opened.page
    attack = "</td><img src=x onerror='window.harmed=1'><script>window.harmed=1</script>"
    opened.board.seen(body(version=attack))
    opened.write("Failed", message=attack, waitingFor={"what": attack})
    for path in ("/", "/d/demo/shop"):
        await opened.at(path)
        opened.write("Failed", message=attack + path)  # and once more through the script
        await page.until(f"document.body.textContent.includes({attack + path!r})")
        assert await page.ask("window.harmed === undefined && !document.querySelector('img')")
    assert page.problems == []
    await page.ask("document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.harmed=1\" id=b>x</b>')")
    await page.ask("document.getElementById('b').click()")
    assert await page.ask("window.harmed") is None
    assert any("Content Security Policy" in problem for problem in page.problems)


async def test_it_works_without_a_script_and_on_a_phone(opened: Open) -> None:
    page = opened.page
    opened.board.seen(body())
    opened.write("Progressing", rollout={"step": 1, "weight": 10}, waitingFor={"what": "w" * 300})
    await page.look(width=360, height=740, phone=True)
    for path in ("/", "/d/demo/shop"):
        await opened.at(path)
        assert await page.ask("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than a phone"
    await opened.at("/", script=False)
    await page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "Progressing" in await page.ask("document.getElementById('lines').textContent")
    assert await page.ask("document.querySelector('meta[http-equiv=refresh]') !== null")
    assert "UTC" in await page.ask("document.querySelector('time').textContent")


@pytest.mark.skipif(not AXE.exists(), reason="the frontend's tools are not installed")
@pytest.mark.parametrize("dark", [False, True])
async def test_it_is_accessible(opened: Open, dark: bool) -> None:
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']}"
    phases = {"fine": "Healthy", "moving": "Progressing", "held": "Paused", "broken": "RolledBack"}
    window = Window(Sample(10, 1, None, 20.0), Sample(9), 1, (Limit("error-rate", max=0.05),))
    for name, phase in phases.items():
        opened.board.seen(body(name, smoke=[{"name": "ready", "http": {}}]))
        past = {"release": {"id": "i", "version": "v"}, "outcome": "Promoted", "at": "2026-11-23T08:00:00Z"}
        opened.write(phase, name, waitingFor={"what": "a person"}, history=[past], url="https://shop.example")
        opened.board.measured(f"uid-demo-{name}", "r", NOW, window)
        opened.board.noted(f"uid-demo-{name}", NOW, "Warning", phase, "a sentence")
    await opened.page.look(width=1280, height=900, dark=dark)
    for path in ("/", *(f"/d/demo/{name}" for name in phases)):
        await opened.at(path)
        await opened.page.ask(AXE.read_text() + "; 0")
        found = await opened.page.ask(f"axe.run({rules}).then((r) => r.violations.map((v) => v.id + ': ' + v.help))")
        assert found == [], path

"""Version skew: people keep the page open while releases come and go, and notice nothing of it.

A tab is as old as its html. What it loads later has to be of its own release, whatever the release pointer says by
then; what it says has to reach a backend of any release and stay in the conversation.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agui_dev.testbed.demo_stage import DemoStage, missing_browser
from browser_tabs import BrowserTabs, browser_tabs

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing_browser()), reason=missing_browser() or "a browser is here"),
]
STEP = {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "2s"}}]}, "progressDeadline": "60s"}
WAIT_AND_FAIL = """
import pathlib, sys, time
end = time.monotonic() + 120
while not pathlib.Path(sys.argv[1]).exists() and time.monotonic() < end:
    time.sleep(0.1)
sys.exit(1)
"""


def late_failure(met: Path) -> dict[str, object]:
    """A check that fails when users have met the release, which `met` says by its existence: the pointer is moved back
    under their feet."""
    image = "us-central1-docker.pkg.dev/demo/agui/concierge:v2"
    job = {"image": image, "command": ["python", "-c", WAIT_AND_FAIL, str(met)]}
    return {"name": "late", "attempts": 1, "at": ["promoted"], "job": job}


@pytest.fixture
def tabs(demo_stage: DemoStage, tmp_path: Path) -> Iterator[BrowserTabs]:
    with browser_tabs(demo_stage.origin, tmp_path) as running:
        yield running


def later_scripts(archive: bytes) -> list[str]:
    """Scripts of a release that its html does not name: what a page loads when it needs it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {m.name: part.read() for m in tar if (part := tar.extractfile(m)) is not None}
    named = set(re.findall(r'(?:src|href)="/([^"]+)"', files["index.html"].decode()))
    paths = {str(entry["path"]) for entry in json.loads(files["manifest.json"])["files"]}
    return [f"/{path}" for path in sorted(paths - named) if path.endswith(".js")]


class Chat:
    """One person's conversation in one tab; counts what was said."""

    def __init__(self, tabs: BrowserTabs, tab: str) -> None:
        self._tabs, self.tab, self.said = tabs, tab, 0

    def ask(self) -> None:
        number = 41 + self.said % 5
        self.said += 1
        assert self._tabs.say(self.tab, f"order {number}", f"Order {number}:") == self.said


def test_open_tabs_outlive_a_promotion_and_a_roll_back(
    demo_stage: DemoStage, tabs: BrowserTabs, tmp_path: Path
) -> None:
    scripts = {version: later_scripts(demo_stage.archive(version)) for version in ("v1", "v2", "v3")}
    assert scripts["v1"], "the page loads nothing later, so nothing would be proven"
    demo_stage.apply(demo_stage.document("v1"))
    demo_stage.settle("Healthy")
    busy, idle = Chat(tabs, "busy"), Chat(tabs, "idle")
    assert {tabs.open("busy"), tabs.open("idle")} == {"1.0.0"}
    busy.ask()

    demo_stage.apply(demo_stage.document("v2", strategy=STEP))
    demo_stage.settle("Healthy", during=busy.ask)
    assert busy.said > 3, "nobody talked while v2 was promoted"
    assert tabs.open("new") == "1.1.0"
    idle.ask()  # its first question: what the page loads for that was never loaded before
    assert tabs.load("idle", scripts["v1"]) == []

    public = tmp_path / "met"
    demo_stage.apply(demo_stage.document("v2", page="v3", smoke=[late_failure(public)], strategy=STEP))
    met = Chat(tabs, "met")
    history = busy.said

    def live() -> None:
        busy.ask()
        if not met.said and demo_stage.phase() == "Baking":
            assert tabs.open("met") == "1.2.0"
            met.ask()
            public.touch()

    status = demo_stage.settle("RolledBack", during=live)["status"]
    assert status["rejected"]["reason"] == "SmokeFailed"
    assert busy.said > history + 3, "nobody talked while v3 came and went"
    assert met.said, "nobody met v3"
    assert tabs.load("met", scripts["v3"]) == []  # a release that is gone, in a tab that has it open
    for chat in (busy, idle, met):
        chat.ask()
    assert tabs.open("newest") == "1.1.0"

    for tab in ("busy", "idle", "new", "met", "newest"):
        assert tabs.troubles(tab) == [], tab
    for chat in (busy, idle, met):
        assert tabs.reload(chat.tab, chat.said) == "1.1.0", "a reload is the way to the current release"

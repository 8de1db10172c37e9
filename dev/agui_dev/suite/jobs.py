"""The jobs of this repository: checks, folders of tests, the browser application's tests, and what they need."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agui_dev.paths import ROOT, VENV
from agui_dev.setup import browser
from agui_dev.steps import StepFailed
from agui_dev.suite.schedule import Command, Job

CHECKS: dict[str, tuple[str, ...]] = {
    "ruff check": ("ruff", "check"),
    "ruff format": ("ruff", "format", "--check"),
    "mypy": ("mypy",),
    "import-linter": ("lint-imports",),
    "generate": ("python", "-m", "agui_dev.generate", "--check"),
    "biome and tsc": ("npm", "run", "--silent", "check"),
}
# Folders of tests, and the browser application, whose runners are its own.
PARTS = ("unit", "properties", "attack", "contract", "frontend", "app", "integration", "faults", "e2e")
IMAGE_TESTS = "tests/e2e/test_images.py"
PREPARE = "prepare"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job takes on an idle machine with two cores and warm caches: seconds, and cores that it keeps busy."""

    seconds: float
    cores: float
    background: bool = False
    workers: bool = False  # its tests share the cores; all of a file in one worker, because they share what was started
    measured: bool = False  # a run of everything counts the lines that it reaches


# What waits for processes most of the time runs beside other such jobs; what only computes runs in the background.
COSTS: dict[str, Cost] = {
    "ruff check": Cost(2, 1, background=True),
    "ruff format": Cost(1, 1, background=True),
    "mypy": Cost(35, 1, background=True),
    "import-linter": Cost(8, 1, background=True),
    "generate": Cost(4, 1, background=True),
    "biome and tsc": Cost(20, 1.2, background=True),
    PREPARE: Cost(1, 0.5),
    "unit": Cost(130, 1.5, workers=True, measured=True),
    "properties": Cost(130, 1, background=True),
    "attack": Cost(60, 1, background=True, measured=True),
    "contract": Cost(180, 0.9, workers=True, measured=True),
    "frontend": Cost(15, 1.5, background=True),
    "frontend flows": Cost(120, 0.9),
    "app": Cost(190, 1.5, workers=True, measured=True),
    "integration": Cost(300, 0.9, workers=True),
    "faults": Cost(265, 0.75),
    "e2e": Cost(110, 0.8),
    "images": Cost(150, 0.7, background=True),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tests are and where their results go."""

    root: Path = ROOT

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def coverage(self) -> Path:
        """One data file per job, and those of the processes that the job started beside it."""
        return self.build / "coverage"

    def has_tests(self, part: str) -> bool:
        return part == "frontend" or any((self.root / "tests" / part).rglob("test_*.py"))


def tool(*argv: str) -> tuple[str, ...]:
    """A command of the virtual environment."""
    return (str(VENV / "bin" / argv[0]), *argv[1:])


def workers() -> int:
    """How many processes share a part: AGUI_TEST_WORKERS, else the cores, four at most."""
    return int(os.environ.get("AGUI_TEST_WORKERS") or min(4, os.cpu_count() or 1))


def checks(layout: Layout) -> list[Job]:
    """Each check is a job of its own."""
    return [_job(name, _check(name, layout)) for name in CHECKS]


def _check(name: str, layout: Layout) -> Command:
    command = CHECKS[name]
    if command[0] == "npm":
        return Command(command, layout.root / "frontend")
    return Command(tool(*command), layout.root)


def parts(names: Sequence[str], layout: Layout, coverage: bool) -> list[Job]:
    """The jobs of these parts, and the preparation that some of them need."""
    found: list[Job] = []
    for part in (name for name in PARTS if name in names and layout.has_tests(name)):
        if part == "frontend":
            found += _frontend(layout)
        elif part == "e2e" and (layout.root / IMAGE_TESTS).exists():
            options = (f"--ignore={IMAGE_TESTS}",)
            found.append(_job(part, _pytest(part, f"tests/{part}", layout, coverage, options)))
            found.append(_job("images", _pytest("images", IMAGE_TESTS, layout, coverage=False)))
        else:
            found.append(_job(part, _pytest(part, f"tests/{part}", layout, coverage)))
    if any(PREPARE in job.needs for job in found):
        found.insert(0, _preparation(layout, images=any(job.name == "images" for job in found)))
    return found


def _preparation(layout: Layout, images: bool) -> Job:
    """Installs Chromium and what the images need, where that is permitted; tests skip with a reason where not."""
    parts = ("chromium", "images") if images else ("chromium",)
    only = [word for part in parts for word in ("--only", part)]
    # One process per thing: the second is installed where the first cannot be.
    commands = [
        Command((sys.executable, str(ROOT / "dev/agui_dev/bootstrap.py"), *only[i : i + 2]), layout.root)
        for i in range(0, len(only), 2)
    ]
    return _job(PREPARE, *commands)


def _pytest(name: str, target: str, layout: Layout, coverage: bool, options: Sequence[str] = ()) -> Command:
    report = layout.build / f"test-{name}.xml"
    argv = [*tool("python", "-m", "pytest", target, f"--junitxml={report}"), *options]
    # Jobs side by side do not write the same files.
    argv += ["-o", f"cache_dir={layout.root / '.pytest_cache' / name}"]
    if COSTS[name].workers and workers() > 1:
        argv += ["--numprocesses", str(workers()), "--dist", "load" if name == "unit" else "loadfile"]
    if not coverage or not COSTS[name].measured:
        return Command(tuple(argv), layout.root, report)
    data = layout.coverage / name / f".coverage.{name}"
    argv += ["--cov", "--cov-report="]
    more = {"COVERAGE_FILE": str(data)} | ({"COVERAGE_CONCURRENCY": "greenlet"} if name == "app" else {})
    return Command(tuple(argv), layout.root, report, environment=lambda: more)


def _frontend(layout: Layout) -> list[Job]:
    """The browser application's own tests: components, and flows in Chromium against the real application."""
    folder = layout.root / "frontend"
    components = layout.build / "test-frontend-vitest.xml"
    flows = layout.build / "test-frontend-playwright.xml"
    vitest = ("npx", "--no-install", "vitest", "run", "--reporter=default", "--reporter=junit")
    playwright = ("npx", "--no-install", "playwright", "test", "--reporter=list,junit")

    def environment() -> dict[str, str]:
        env = {"PLAYWRIGHT_JUNIT_OUTPUT_FILE": str(flows), "PYTHON": str(VENV / "bin" / "python")}
        chromium = browser.find()
        return env if chromium is None else env | {"CHROMIUM": str(chromium)}

    return [
        _job("frontend", Command((*vitest, f"--outputFile.junit={components}"), folder, components)),
        _job("frontend flows", Command(playwright, folder, flows, skip=no_chromium, environment=environment)),
    ]


def no_chromium() -> str:
    """Why no page can be opened here; empty when one can."""
    try:
        return "" if browser.find() else browser.ADVICE
    except StepFailed as wrong:
        return str(wrong)


# Jobs with tests in Chromium, and those that build images.
_PREPARED = frozenset({"frontend flows", "integration", "e2e", "images"})


def _job(name: str, *commands: Command) -> Job:
    cost = COSTS[name]
    prepares = name == PREPARE
    return Job(
        name,
        commands,
        cost.seconds,
        cost.cores,
        cost.background,
        needs=frozenset({PREPARE}) if name in _PREPARED else frozenset(),
        live=prepares,
        preparation=prepares,
    )

"""Runs the checks and the parts of the test suite, and ends with one line that counts all of them.

`python -m agui_dev.suite` runs everything with coverage; `python -m agui_dev.suite check unit` runs what is named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agui_dev.paths import ROOT, VENV
from agui_dev.setup import browser
from agui_dev.steps import StepFailed

BUILD = ROOT / "build"
FRONTEND = ROOT / "frontend"
CHECKS: dict[str, tuple[str, ...]] = {
    "ruff check": ("ruff", "check"),
    "ruff format": ("ruff", "format", "--check"),
    "mypy": ("mypy",),
    "import-linter": ("lint-imports",),
    "generate": ("python", "-m", "agui_dev.generate", "--check"),
    "biome and tsc": ("npm", "run", "--silent", "check"),
}
# Folders of tests, and the browser application, whose runners are its own. Parts whose tests start one big thing a
# session run in one process; the others share the cores.
PARTS = ("unit", "properties", "contract", "frontend", "app", "integration", "faults", "e2e")
SHARED_CORES = frozenset({"unit", "properties", "contract", "app"})
# pytest's exit code for "some tests failed" (https://docs.pytest.org/en/stable/reference/exit-codes.html).
SOME_FAILED = 1


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests ended how; `failed` counts errors and broken runs too."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def read_report(report: Path, exit_code: int) -> Tally:
    """What pytest's JUnit report and exit code say together. A run that broke off counts as one failure more."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return Tally(failed=1)

    def total(attribute: str) -> int:
        return sum(int(suite.get(attribute, "0")) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    # A test that fails and whose clean-up fails too stands in both columns, but was one test.
    passed = max(0, total("tests") - failed - skipped)
    broken = exit_code != 0 and not (exit_code == SOME_FAILED and failed)
    return Tally(passed, failed + broken, skipped)


def closing_line(tests: Tally, failed_checks: Sequence[str], checks: int, seconds: float) -> str:
    """The last line of a run: `12 passed, 0 failed, 1 skipped in 3.2 s; checks: 5 of 5 passed`."""
    line = f"{tests.passed} passed, {tests.failed + len(failed_checks)} failed"
    line += f", {tests.skipped} skipped" if tests.skipped else ""
    line += f" in {seconds:.1f} s"
    if checks:
        line += f"; checks: {checks - len(failed_checks)} of {checks} passed"
        line += f" (failed: {', '.join(failed_checks)})" if failed_checks else ""
    return line


def workers() -> str:
    """How many processes share a part: AGUI_TEST_WORKERS, else the cores, four at most."""
    return os.environ.get("AGUI_TEST_WORKERS") or str(min(4, os.cpu_count() or 1))


def tool(*argv: str) -> list[str]:
    """A command of the virtual environment."""
    return [str(VENV / "bin" / argv[0]), *argv[1:]]


def run_check(name: str) -> bool:
    """Run one check; True when it passed."""
    print(f"--- {name}", flush=True)
    command = CHECKS[name]
    argv, folder = (list(command), FRONTEND) if command[0] == "npm" else (tool(*command), ROOT)
    return subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode == 0


def run_frontend() -> Tally:
    """The browser application's own tests: components, then flows in Chromium against the real application."""
    tests = _run_npx("vitest", "run", "--reporter=default", "--reporter=junit", "--outputFile.junit={report}")
    try:
        browser.ensure()
    except StepFailed as missing:
        print(f"--- frontend: the flows in a browser are skipped. {missing}", flush=True)
        return tests + Tally(skipped=1)
    return tests + _run_npx("playwright", "test", "--reporter=list,junit")


def _run_npx(runner: str, *options: str) -> Tally:
    print(f"--- frontend: {runner}", flush=True)
    report = BUILD / f"test-frontend-{runner}.xml"
    report.unlink(missing_ok=True)
    env = {**environment(), "PLAYWRIGHT_JUNIT_OUTPUT_FILE": str(report), "PYTHON": str(VENV / "bin" / "python")}
    if (chromium := browser.find()) is not None:
        env["CHROMIUM"] = str(chromium)
    argv = ["npx", "--no-install", runner, *(option.format(report=report) for option in options)]
    code = subprocess.run(argv, cwd=FRONTEND, env=env, stdin=subprocess.DEVNULL, check=False).returncode
    return read_report(report, code)


def environment() -> dict[str, str]:
    """That of the tests: with bytecode written, because they start some hundred processes of the same modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_part(part: str, coverage: bool) -> Tally:
    """Run one folder of tests, or the browser application's."""
    if part == "frontend":
        return run_frontend()
    folder = ROOT / "tests" / part
    if not any(folder.rglob("test_*.py")):
        print(f"--- tests/{part}: no tests", flush=True)
        return Tally()
    print(f"--- tests/{part}", flush=True)
    report = BUILD / f"test-{part}.xml"
    report.unlink(missing_ok=True)
    argv = tool("python", "-m", "pytest", f"tests/{part}", f"--junitxml={report}")
    if part in SHARED_CORES and workers() != "1":
        argv += ["--numprocesses", workers()]
    if coverage:
        argv += ["--cov", "--cov-append", "--cov-report="]
    code = subprocess.run(argv, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, check=False).returncode
    return read_report(report, code)


# package -> (path pattern, least percentage of lines and branches). Processes that the tests start are counted too,
# except those that end by kill -9 and the application's instances on the local Cloud Run, whose environment is clean.
GATES = {
    "agui_operator.core": ("*/agui_operator/core/*", 100),
    "agui_operator": ("*/agui_operator/*", 85),
    "agui_app": ("*/agui_app/*", 85),
    "localgcp": ("*/localgcp/localgcp/*", 85),
}


def is_covered(name: str) -> bool:
    """Print a package's coverage by lines and branches; True when it reaches its gate."""
    pattern, least = GATES[name]
    print(f"--- coverage of {name}: at least {least} %", flush=True)
    argv = tool("coverage", "report", f"--include={pattern}", f"--fail-under={least}")
    return subprocess.run(argv, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """The command line; 0 only when every check and every test passed."""
    parser = argparse.ArgumentParser(description="Run the checks and the tests.")
    parser.add_argument("names", nargs="*", choices=["check", *PARTS, []], help="what to run; everything by default")
    names: list[str] = parser.parse_args().names or ["check", *PARTS]
    coverage = set(PARTS) <= set(names)
    BUILD.mkdir(exist_ok=True)
    started = time.monotonic()
    tests, checks = Tally(), tuple(CHECKS) if "check" in names else ()
    failed_checks = [name for name in checks if not run_check(name)]
    if coverage:
        subprocess.run(tool("coverage", "erase"), cwd=ROOT, check=False)
    try:
        for part in PARTS:
            tests += run_part(part, coverage) if part in names else Tally()
    except KeyboardInterrupt:
        tests += Tally(failed=1)
        print("\nstopped", flush=True)
    if coverage:
        failed_checks += [f"coverage of {name}" for name in GATES if not is_covered(name)]
    print(
        closing_line(tests, failed_checks, len(checks) + (len(GATES) if coverage else 0), time.monotonic() - started),
        flush=True,
    )
    return 1 if tests.failed or failed_checks else 0


if __name__ == "__main__":
    sys.exit(main())

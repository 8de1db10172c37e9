"""`python -m agui_dev.suite` runs everything with coverage; `python -m agui_dev.suite check unit` what is named."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agui_dev.paths import ROOT
from agui_dev.suite import jobs, records
from agui_dev.suite.runner import Outcome, Runner
from agui_dev.suite.tally import Tally, closing_line, skip_lines

# package -> (path pattern, least percentage of lines and branches). Processes that the tests start are counted too,
# except those that end by kill -9 and the application's instances on the local Cloud Run, whose environment is clean.
GATES = {
    "agui_operator.core": ("*/agui_operator/core/*", 100),
    "agui_operator": ("*/agui_operator/*", 85),
    "agui_app": ("*/agui_app/*", 85),
    "localgcp": ("*/localgcp/localgcp/*", 85),
}


def say(text: str) -> None:
    """One line of the run's own output."""
    print(text, flush=True)


def combine(layout: jobs.Layout) -> None:
    """One `.coverage` of the data of all jobs."""
    folders = sorted(str(folder) for folder in layout.coverage.glob("*/"))
    argv = jobs.tool("coverage", "combine", "--quiet", f"--data-file={layout.root / '.coverage'}", *folders)
    subprocess.run(argv, cwd=layout.root, check=False)


def is_covered(name: str, layout: jobs.Layout) -> bool:
    """Print a package's coverage by lines and branches; True when it reaches its gate."""
    pattern, least = GATES[name]
    say(f"--- coverage of {name}: at least {least} %")
    data = layout.root / ".coverage"
    argv = jobs.tool("coverage", "report", f"--data-file={data}", f"--include={pattern}", f"--fail-under={least}")
    return subprocess.run(argv, cwd=layout.root, check=False).returncode == 0


def show_failures(outcomes: Sequence[Outcome]) -> None:
    """The whole log of every job that failed."""
    for outcome in outcomes:
        if not outcome.passed and outcome.log is not None:
            say(f"\n--- {outcome.job.name} failed; its output:")
            say(outcome.log.read_text(errors="replace"))


def run(names: Sequence[str], layout: jobs.Layout) -> int:
    """Run what is named; the exit code."""
    coverage = set(jobs.PARTS) <= set(names)
    chosen = (jobs.checks(layout) if "check" in names else []) + jobs.parts(names, layout, coverage)
    for part in jobs.PARTS:
        if part in names and not layout.has_tests(part):
            say(f"--- tests/{part}: no tests")
    layout.build.mkdir(exist_ok=True)
    if coverage:
        shutil.rmtree(layout.coverage, ignore_errors=True)
    started, tests = time.monotonic(), Tally()
    times = layout.build / "suite.json"
    # A single part shows its output as it comes.
    alone = len([job for job in chosen if not job.preparation]) == 1
    logs = None if alone else layout.build / "logs"
    runner = Runner(logs, os.cpu_count() or 1, records.read_seconds(times), say)
    try:
        runner.run(chosen)
        records.write(times, runner.outcomes)
    except KeyboardInterrupt:
        tests, coverage = Tally(failed=1), False
        say("stopped")
    return _report(runner.outcomes, tests, layout, coverage, started)


def _report(outcomes: Sequence[Outcome], tests: Tally, layout: jobs.Layout, coverage: bool, started: float) -> int:
    show_failures(outcomes)
    reasons = Counter[str]()
    for outcome in outcomes:
        tests += outcome.tests
        reasons += outcome.reasons
    ran = [outcome for outcome in outcomes if outcome.job.name in jobs.CHECKS]
    failed = [outcome.job.name for outcome in ran if not outcome.passed]
    if coverage:
        combine(layout)
        failed += [f"coverage of {name}" for name in GATES if not is_covered(name, layout)]
    for line in skip_lines(reasons):
        say(line)
    count = len(ran) + (len(GATES) if coverage else 0)
    say(closing_line(tests, failed, count, time.monotonic() - started, reasons))
    return 1 if tests.failed or failed else 0


def stop(_number: int, _frame: FrameType | None) -> None:
    """A signal handler that ends the run; also for SIGINT, which a shell's background job would ignore."""
    raise KeyboardInterrupt


def main(root: Path = ROOT) -> int:
    """The command line; 0 only when every check and every test passed."""
    parser = argparse.ArgumentParser(description="Run the checks and the tests.")
    parser.add_argument(
        "names", nargs="*", choices=["check", *jobs.PARTS, []], help="what to run; everything by default"
    )
    names: list[str] = parser.parse_args().names or ["check", *jobs.PARTS]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return run(names, jobs.Layout(root))


if __name__ == "__main__":
    sys.exit(main())

"""What the test runners' reports say: how many tests ended how, and why some were skipped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# pytest's exit code for "some tests failed" (https://docs.pytest.org/en/stable/reference/exit-codes.html).
SOME_FAILED = 1
NO_REASON = "no reason given"
# The closing line names the reasons itself when they are not longer than this; the lines above it always do.
SHORT_TAIL = 120


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests ended how; `failed` counts errors and broken runs too."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def read_report(report: Path, exit_code: int) -> Tally:
    """What a JUnit report and the runner's exit code say together. A run that broke off counts as one failure more."""
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


def skip_reasons(report: Path) -> Counter[str]:
    """Reason -> number of skipped tests. Expected failures are reported as skipped, with their own reason."""
    try:
        found = list(ET.parse(report).getroot().iter("skipped"))
    except (OSError, ET.ParseError):
        return Counter()
    return Counter(" ".join((element.get("message") or NO_REASON).split()) for element in found)


def skip_lines(reasons: Counter[str]) -> list[str]:
    """One line per reason, the most frequent first: `skipped 15: Images are built with buildah, ...`."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [f"skipped {count}: {reason}" for reason, count in ordered]


def closing_line(
    tests: Tally, failed_checks: Sequence[str], checks: int, seconds: float, reasons: Counter[str] | None = None
) -> str:
    """The last line of a run: `12 passed, 0 failed, 1 skipped in 3.2 s; checks: 5 of 5 passed`, and why tests were
    skipped where that is short."""
    line = f"{tests + Tally(failed=len(failed_checks))} in {seconds:.1f} s"
    if checks:
        line += f"; checks: {checks - len(failed_checks)} of {checks} passed"
        line += f" (failed: {', '.join(failed_checks)})" if failed_checks else ""
    if tests.skipped:
        tail = "; ".join(skip_lines(reasons or Counter()))
        line += f"; {tail}" if 0 < len(tail) <= SHORT_TAIL else "; skipped: see the lines above"
    return line

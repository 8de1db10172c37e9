"""The suite's last line is what people and servers believe: no failure may hide from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agui_dev import generate, suite
from agui_dev.paths import ROOT
from agui_dev.suite import Tally, closing_line, read_report


def report(folder: Path, **counts: int) -> Path:
    attributes = " ".join(f'{name}="{count}"' for name, count in counts.items())
    (folder / "report.xml").write_text(f'<testsuites name="pytest"><testsuite {attributes}/></testsuites>')
    return folder / "report.xml"


@pytest.mark.parametrize(
    ("counts", "exit_code", "tally"),
    [
        pytest.param({"tests": 9, "skipped": 2}, 0, Tally(7, 0, 2), id="good"),
        pytest.param({"tests": 9, "failures": 1, "errors": 2}, 1, Tally(6, 3), id="failures-and-errors"),
        pytest.param({"tests": 9}, 1, Tally(9, 1), id="exit-code-without-a-failure"),
        pytest.param({"tests": 9, "failures": 1}, 2, Tally(8, 2), id="interrupted"),
        pytest.param({"tests": 0}, 5, Tally(0, 1), id="nothing-collected"),
        pytest.param({"tests": 9}, -9, Tally(9, 1), id="killed"),
    ],
)
def test_report_and_exit_code_count_together(
    tmp_path: Path, counts: dict[str, int], exit_code: int, tally: Tally
) -> None:
    assert read_report(report(tmp_path, **counts), exit_code) == tally


def test_no_report_is_a_failure(tmp_path: Path) -> None:
    assert read_report(tmp_path / "none.xml", 0) == Tally(failed=1)
    (tmp_path / "half.xml").write_text("<testsuites><testsuite")
    assert read_report(tmp_path / "half.xml", 0) == Tally(failed=1)


def test_the_closing_line_counts_failed_checks_too() -> None:
    assert closing_line(Tally(12), [], 0, 3.21) == "12 passed, 0 failed in 3.2 s"
    assert closing_line(Tally(12, 1, 2), ["mypy"], 5, 60) == (
        "12 passed, 2 failed, 2 skipped in 60.0 s; checks: 4 of 5 passed (failed: mypy)"
    )


@pytest.mark.parametrize("broken", [True, False])
def test_the_exit_code_follows_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], broken: bool
) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_one.py").write_text(f"def test_one():\n    assert not {broken}\n")
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    monkeypatch.setattr(suite, "BUILD", tmp_path / "build")
    monkeypatch.setattr("sys.argv", ["suite", "unit", "faults"])
    monkeypatch.setenv("AGUI_TEST_WORKERS", "1")
    assert suite.main() == int(broken)
    lines = capfd.readouterr().out.splitlines()
    assert "--- tests/faults: no tests" in lines
    assert lines[-1].startswith("0 passed, 1 failed" if broken else "1 passed, 0 failed")


def test_every_folder_of_tests_is_a_part() -> None:
    folders = {test.relative_to(ROOT / "tests").parts[0] for test in (ROOT / "tests").rglob("test_*.py")}
    assert folders <= set(suite.PARTS)


class Stale:
    """A generator whose file has drifted."""

    def write(self, root: Path) -> list[Path]:
        (root / "made").write_text("new")
        return [root / "made"]

    def check(self, root: Path) -> list[str]:
        return [] if (root / "made").exists() else [f"{root / 'made'} is missing"]


def test_drift_is_what_a_generator_would_change(tmp_path: Path) -> None:
    assert generate.drift(tmp_path, [Stale()]) == [f"{tmp_path / 'made'} is missing"]
    Stale().write(tmp_path)
    assert generate.drift(tmp_path, [Stale(), Stale()]) == []


def test_a_missing_generator_is_not_passed_over() -> None:
    with pytest.raises(ImportError):
        generate.load(["agui_dev.no_such_generator"])

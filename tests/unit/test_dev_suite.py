"""The suite's last line is what people and servers believe: no failure may hide from it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from coverage import CoverageData

from agui_dev import generate
from agui_dev.paths import ROOT
from agui_dev.suite import __main__ as suite
from agui_dev.suite import jobs
from agui_dev.suite.tally import NO_REASON, Tally, closing_line, read_report, skip_lines, skip_reasons


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
    assert skip_reasons(tmp_path / "half.xml") == skip_reasons(tmp_path / "none.xml") == Counter()


def test_skipped_tests_are_grouped_by_their_reason(tmp_path: Path) -> None:
    cases = '<testcase><skipped type="pytest.skip" message="no buildah\n here"/></testcase>' * 2
    cases += "<testcase><skipped/></testcase><testcase/>"
    (tmp_path / "report.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    reasons = skip_reasons(tmp_path / "report.xml")
    assert reasons == {"no buildah here": 2, NO_REASON: 1}
    assert skip_lines(reasons) == ["skipped 2: no buildah here", f"skipped 1: {NO_REASON}"]


def test_the_closing_line_counts_failed_checks_too() -> None:
    assert closing_line(Tally(12), [], 0, 3.21) == "12 passed, 0 failed in 3.2 s"
    assert closing_line(Tally(12, 1, 2), ["mypy"], 5, 60, Counter({"no buildah here": 2})) == (
        "12 passed, 2 failed, 2 skipped in 60.0 s; checks: 4 of 5 passed (failed: mypy); skipped 2: no buildah here"
    )


def test_the_closing_line_stays_short() -> None:
    line = closing_line(Tally(12, 0, 2), [], 5, 60, Counter({"because " * 40: 2}))
    assert line == "12 passed, 0 failed, 2 skipped in 60.0 s; checks: 5 of 5 passed; skipped: see the lines above"


@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize("beside", [True, False], ids=["two parts", "one part"])
def test_the_exit_code_follows_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], broken: bool, beside: bool
) -> None:
    parts = ("unit", "contract") if beside else ("unit",)
    for part in parts:
        (tmp_path / "tests" / part).mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_one.py").write_text(
        f"import pytest\ndef test_one():\n    assert not {broken}\ndef test_two():\n    pytest.skip('not here')\n"
    )
    if beside:
        (tmp_path / "tests" / "contract" / "test_other.py").write_text("def test_other(): print('quiet words')\n")
    monkeypatch.setattr("sys.argv", ["suite", *parts, "faults"])
    monkeypatch.setenv("AGUI_TEST_WORKERS", "1")
    assert suite.main(tmp_path) == int(broken)
    lines = capfd.readouterr().out.splitlines()
    assert "--- tests/faults: no tests" in lines
    passed = beside + (not broken)
    assert lines[-1].startswith(f"{passed} passed, {int(broken)} failed, 1 skipped in ")
    assert lines[-1].endswith("; skipped 1: not here")
    assert lines[-2] == "skipped 1: not here"
    shown = [line for line in lines if "assert not True" in line]
    assert bool(shown) is broken, "the output of what failed is shown"
    assert not [line for line in lines if "quiet words" in line]


def test_every_folder_of_tests_is_a_part() -> None:
    folders = {test.relative_to(ROOT / "tests").parts[0] for test in (ROOT / "tests").rglob("test_*.py")}
    assert folders <= set(jobs.PARTS)


def test_every_test_runs_once_and_every_job_is_planned() -> None:
    found = jobs.parts(jobs.PARTS, jobs.Layout(), coverage=True)
    names = [job.name for job in found]
    assert len(set(names)) == len(names)
    assert {job.name for job in found + jobs.checks(jobs.Layout())} == set(jobs.COSTS)
    words = [word for job in found for command in job.commands for word in command.argv]
    for part in jobs.PARTS:
        assert words.count(f"tests/{part}") == (part != "frontend"), part
    assert words.count(jobs.IMAGE_TESTS) == words.count(f"--ignore={jobs.IMAGE_TESTS}") == 1


def test_jobs_side_by_side_write_no_file_of_another() -> None:
    commands = {job.name: job.commands for job in jobs.parts(jobs.PARTS, jobs.Layout(), coverage=True)}
    files = [command.report for every in commands.values() for command in every if command.report]
    assert len(set(files)) == len(files)
    data = [env["COVERAGE_FILE"] for every in commands.values() for c in every
            if "COVERAGE_FILE" in (env := c.environment())]  # fmt: skip
    assert len(set(data)) == len(data) == sum(cost.measured for cost in jobs.COSTS.values()) > 3
    assert all(Path(file).name.startswith(".coverage.") for file in data), "what `coverage combine` looks for"


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


def test_coverage_of_all_jobs_and_of_their_processes_is_combined(tmp_path: Path) -> None:
    layout = jobs.Layout(tmp_path)
    source = tmp_path / "module.py"
    source.write_text("a = 1\nb = 2\nc = 3\n")
    for line, (job, suffix) in enumerate((("unit", ""), ("app", ""), ("app", ".host.123.xyz")), start=1):
        file = layout.coverage / job / f".coverage.{job}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        data = CoverageData(str(file))
        data.add_lines({str(source): [line]})
        data.write()
    suite.combine(layout)
    combined = CoverageData(str(tmp_path / ".coverage"))
    combined.read()
    assert sorted(combined.lines(str(source)) or ()) == [1, 2, 3]

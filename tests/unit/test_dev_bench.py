"""The arithmetic of the benchmark: percentiles, time that nobody else took, and what is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agui_dev.bench.figures import BUDGETS, Figure, document, merged, percentile, read, table, uncovered, write


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([7.0], 0.99, 7.0, id="one value is every percentile"),
        pytest.param([4, 1, 3, 2], 0.5, 2, id="half of four are not above the second"),
        pytest.param(list(range(1, 101)), 0.99, 99, id="of a hundred values the p99 is the ninety-ninth"),
        pytest.param(list(range(1, 61)), 0.99, 60, id="of few values the p99 is the worst"),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("intervals", "left"),
    [
        pytest.param([], 10, id="nobody else did anything"),
        pytest.param([(2, 5)], 7, id="one call inside"),
        pytest.param([(2, 6), (4, 8)], 4, id="overlapping calls count once"),
        pytest.param([(2, 8), (3, 4)], 4, id="a call within a call counts once"),
        pytest.param([(-5, 1), (9, 20)], 8, id="calls over the edges are cut"),
        pytest.param([(-5, -1), (11, 20)], 10, id="calls outside do not count"),
        pytest.param([(-1, 11)], 0, id="one call over all"),
    ],
)
def test_uncovered_time(intervals: list[tuple[float, float]], left: float) -> None:
    assert uncovered(0, 10, intervals) == pytest.approx(left)


def test_the_report_has_every_figure_under_its_key_and_says_what_is_over(tmp_path: Path) -> None:
    figures = [Figure(key, budget, 3, "as planned") for key, budget in BUDGETS.items()]
    figures[0] = Figure("operator.apply_to_first_write_ms_p50", 151.0, 3)
    write(tmp_path / "build" / "bench.json", figures, {"cores": 2})
    report = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert report == document(figures, {"cores": 2})
    assert report["operator.apply_to_first_write_ms_p50"] == 151.0
    assert set(BUDGETS) <= set(report)
    assert [key for key, detail in report["details"].items() if not detail["within"]] == [figures[0].key]
    assert table(figures).row_count == len(figures)


def test_a_run_of_some_figures_keeps_the_others_and_replaces_its_own(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    first, second = list(BUDGETS)[:2]
    write(report, [Figure(first, 1.0, 3, "once"), Figure(second, 2.0, 3)], {})
    both = merged(read(report), [Figure(second, 5.0, 4)])
    assert both == [Figure(first, 1.0, 3, "once"), Figure(second, 5.0, 4)]


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"details": {"a.figure_of_old": {"n": 1}}}'])
def test_no_earlier_report_is_no_figures(tmp_path: Path, content: str | None) -> None:
    report = tmp_path / "bench.json"
    if content is not None:
        report.write_text(content)
    assert read(report) == []

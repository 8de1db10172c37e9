"""Figures with their budgets: what they are called, how they are rounded, printed and kept. Pure but for the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

BUDGETS = {
    "operator.apply_to_first_write_ms_p50": 150.0,
    "operator.apply_to_first_write_ms_p99": 500.0,
    "operator.failure_to_stable_own_ms_p99": 100.0,
    "operator.failure_to_stable_ms_p99": 1000.0,
    "operator.failure_to_stable_without_monitoring_ms_p99": 150.0,
    "operator.calls_per_rollout": 30.0,  # with verification: what was pinned, looked up and recorded is looked at
    "operator.idle_kubernetes_writes": 0.0,
    "operator.start_s": 3.0,
    "operator.rss_mb": 150.0,
    "localgcp.start_s": 2.0,
    "localgcp.proxy_added_ms_p50": 1.5,
    "app.healthz_s": 0.5,
    "app.readyz_s": 2.5,
    "app.rss_mb": 160.0,
    "app.turn_ratio": 1.1,
    "app.event_added_ms": 0.3,
    "app.concurrent_run_errors": 0.0,
    "app.turn40_ratio": 1.5,
    "frontend.entry_gzip_kb": 380.0,
    "frontend.first_load_s": 1.5,
    "frontend.build_s": 15.0,
    "frontend.republish_uploads": 0.0,
    "frontend.flip_writes": 1.0,
    "dashboard.list_200_ms": 300.0,
    "dashboard.update_ms": 100.0,
    "fleet.rss_kb_per_object": 100.0,
    "fleet.start_cpu_ms_per_object": 6.0,
    "fleet.rss_mb": 200.0,
    "security.bomb_peak_mb": 200.0,
    "security.flood_ratio": 2.0,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """`n` is how many samples the value comes from; `note` says what was measured."""

    key: str
    value: float
    n: int
    note: str = ""

    @property
    def budget(self) -> float:
        return BUDGETS[self.key]

    @property
    def within(self) -> bool:
        return self.value <= self.budget


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed: nearest rank. Raises ValueError without any."""
    if not values:
        raise ValueError("no values")
    ranked = sorted(values)
    rank = max(1, -(-len(ranked) * round(share * 1000) // 1000))
    return ranked[rank - 1]


def uncovered(begin: float, end: float, intervals: Sequence[tuple[float, float]]) -> float:
    """How much of [begin, end] no interval covers."""
    left, at = 0.0, begin
    for low, high in sorted(intervals):
        low, high = max(low, begin), min(high, end)
        if high <= at or low > end:
            continue
        left += max(0.0, low - at)
        at = max(at, high)
    return left + max(0.0, end - at)


def table(figures: Sequence[Figure]) -> Table:
    """Budget and result side by side; what was measured stands in the file."""
    shown = Table(title="Speed and size")
    for column in ("figure", "result", "budget", "n", ""):
        shown.add_column(column, justify="right" if column in ("result", "budget", "n") else "left", no_wrap=True)
    for figure in figures:
        mark = "[green]within[/green]" if figure.within else "[red]over[/red]"
        shown.add_row(figure.key, f"{figure.value:g}", f"{figure.budget:g}", str(figure.n), mark)
    return shown


def document(figures: Sequence[Figure], machine: dict[str, Any]) -> dict[str, Any]:
    """What build/bench.json holds: every figure under its key, and how it was come by."""
    values: dict[str, Any] = {figure.key: figure.value for figure in figures}
    details = {f.key: {"budget": f.budget, "within": f.within, "n": f.n, "measured": f.note} for f in figures}
    return values | {"details": details, "machine": machine}


def read(path: Path) -> list[Figure]:
    """The figures of an earlier run; none where there was none, without those that have no budget any more."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    details = {key: entry for key, entry in kept.get("details", {}).items() if key in BUDGETS}
    return [Figure(key, kept[key], entry["n"], entry["measured"]) for key, entry in details.items()]


def merged(before: Sequence[Figure], after: Sequence[Figure]) -> list[Figure]:
    """Every figure once, in the order of the budgets; what was measured last counts."""
    latest = {figure.key: figure for figure in (*before, *after)}
    return [latest[key] for key in BUDGETS if key in latest]


def write(path: Path, figures: Sequence[Figure], machine: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(figures, machine), indent=2) + "\n")

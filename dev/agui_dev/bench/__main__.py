"""`make bench`: measures, prints result beside budget, writes build/bench.json. It never fails because of a time.

`python -m agui_dev.bench app frontend` measures what is named and keeps the other figures of the last report.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console

from agui_dev.bench import app, dashboard, fleet, frontend, measures, publish, security
from agui_dev.bench.figures import Figure, merged, read, table, write
from agui_dev.paths import ROOT


def _localgcp(_samples: int, _failures: int) -> Iterator[Figure]:
    yield measures.cloud_starts(5)
    yield measures.proxy_cost(8000)


def _operator(samples: int, failures: int) -> Iterator[Figure]:
    with measures.system("--lro-seconds", "0") as stage:
        yield measures.operator_starts(stage, 5)
        worker = stage.operator(direct=True)
        yield from measures.first_writes(stage, samples)
        worker.stop()
        worker = stage.operator()  # through the proxy that notes when the API server is asked
        yield from measures.failures(stage, failures)
        yield measures.failures_without_monitoring(stage, failures)
        worker.stop()
    with measures.system() as stage:  # operations take their usual time
        worker = stage.operator()  # no comparison with the cloud falls into a rollout
        yield measures.rollout_calls(stage, 3)
        yield measures.memory(worker)
        worker.stop()
        worker = stage.operator(AGUI_RESYNC_SECONDS="20")
        yield measures.idle_writes(stage)
        worker.stop()


def _app(_samples: int, _failures: int) -> Iterator[Figure]:
    yield from app.figures()


def _frontend(_samples: int, _failures: int) -> Iterator[Figure]:
    yield from frontend.figures()
    with measures.system("--lro-seconds", "0") as stage:
        worker = stage.operator()
        yield from publish.figures(stage)
        worker.stop()


def _dashboard(_samples: int, _failures: int) -> Iterator[Figure]:
    with measures.system("--lro-seconds", "0") as stage:
        yield from dashboard.dashboard(stage)


def _fleet(_samples: int, _failures: int) -> Iterator[Figure]:
    with measures.system("--lro-seconds", "0") as stage:
        yield from fleet.figures(stage)


def _security(_samples: int, _failures: int) -> Iterator[Figure]:
    with measures.system("--lro-seconds", "0") as stage:
        worker = stage.operator(direct=True)
        yield from security.figures(stage, worker)
        worker.stop()


GROUPS: dict[str, Callable[[int, int], Iterator[Figure]]] = {
    "localgcp": _localgcp,
    "operator": _operator,
    "app": _app,
    "frontend": _frontend,
    "dashboard": _dashboard,
    "fleet": _fleet,
    "security": _security,
}


@click.command()
@click.argument("groups", nargs=-1, type=click.Choice(sorted(GROUPS)))
@click.option("--samples", default=100, show_default=True, help="Releases for the percentiles of the first write.")
@click.option("--failures", default=50, show_default=True, help="Failed releases for the percentiles of the way back.")
@click.option("--report", type=click.Path(path_type=Path), default=ROOT / "build" / "bench.json", show_default=False)
def main(groups: tuple[str, ...], samples: int, failures: int, report: Path) -> None:
    """Measures speed and size on this machine: GROUPS, by default all."""
    console = Console(highlight=False)
    figures: list[Figure] = []
    for group in groups or GROUPS:
        console.print(f"[bold]{group}[/bold]")
        for figure in GROUPS[group](samples, failures):
            console.print(f"{figure.key} = {figure.value:g} (budget {figure.budget:g}, n={figure.n})")
            figures.append(figure)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    write(report, merged(read(report), figures) if groups else figures, machine)
    console.print(table(figures))
    console.print(f"written to {report}")


if __name__ == "__main__":
    main()

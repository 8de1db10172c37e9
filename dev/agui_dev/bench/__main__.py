"""`make bench`: measures, prints result beside budget, writes build/bench.json. It never fails because of a time."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click
from rich.console import Console

from agui_dev.bench import measures
from agui_dev.bench.figures import Figure, table, write
from agui_dev.paths import ROOT


@click.command()
@click.option("--samples", default=100, show_default=True, help="Releases for the percentiles of the first write.")
@click.option("--failures", default=50, show_default=True, help="Failed releases for the percentiles of the way back.")
@click.option("--report", type=click.Path(path_type=Path), default=ROOT / "build" / "bench.json", show_default=False)
def main(samples: int, failures: int, report: Path) -> None:
    """Measures speed and size on this machine."""
    console = Console(highlight=False)
    figures: list[Figure] = []

    def add(*measured: Figure) -> None:
        for figure in measured:
            console.print(f"{figure.key} = {figure.value:g} (budget {figure.budget:g}, n={figure.n})")
            figures.append(figure)

    add(measures.cloud_starts(5), measures.proxy_cost(8000))
    with measures.system("--lro-seconds", "0") as stage:
        add(measures.operator_starts(stage, 5))
        worker = stage.operator(direct=True)
        add(*measures.first_writes(stage, samples))
        worker.stop()
        worker = stage.operator()  # through the proxy that notes when the API server is asked
        add(*measures.failures(stage, failures))
        worker.stop()
    with measures.system() as stage:  # operations take their usual time
        worker = stage.operator(AGUI_RESYNC_SECONDS="20")
        add(measures.rollout_calls(stage, 3), measures.memory(worker))
        add(measures.idle_writes(stage))
        worker.stop()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    write(report, figures, machine)
    console.print(table(figures))
    console.print(f"written to {report}")


if __name__ == "__main__":
    main()

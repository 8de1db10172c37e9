"""`make demo`: sets up, plays the story, prints what came of it, and keeps serving until Ctrl-C."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from agui_dev.demo import figures
from agui_dev.demo.load import Load
from agui_dev.demo.screen import Screen
from agui_dev.demo.story import Story
from agui_dev.demo.watch import Watch
from agui_dev.paths import ROOT
from agui_dev.setup import browser
from agui_dev.testbed.world import NAME, NAMESPACE, World


@dataclass(slots=True)
class Result:
    """`as_expected`: all five releases were played, and each ended as it should."""

    as_expected: bool = False


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Stop after the last release; exit 0 only if all went as expected.")
@click.option("--plain", is_flag=True, help="One line per change instead of a live panel.")
@click.option("--small-pages", is_flag=True, help="Publish the small page that needs no Node.js to be built.")
@click.option("--report", type=click.Path(path_type=Path), default=ROOT / "build" / "demo.json", show_default=False)
def main(leave: bool, plain: bool, small_pages: bool, report: Path) -> None:
    """Plays five releases of the sample application on a real API server and a local Google Cloud."""
    state = Path(tempfile.mkdtemp(prefix="agui-demo-"))
    screen = Screen(plain=plain)
    world, result = World(state, screen.line, small_pages=small_pages), Result()
    try:
        asyncio.run(_play(world, screen, report, result, leave=leave))
    except KeyboardInterrupt:
        screen.line("stopped")
    except (RuntimeError, TimeoutError, OSError) as exc:
        screen.line(f"[red]{exc}[/red]")
    finally:
        screen.stop()
        world.stop()
        if result.as_expected:
            shutil.rmtree(state, ignore_errors=True)
        else:
            screen.line(f"logs are kept in {state}")
    if leave and not result.as_expected:
        sys.exit(1)


async def _play(world: World, screen: Screen, report: Path, result: Result, *, leave: bool) -> None:
    screen.chapter("Setting up")
    await world.start()
    assert world.control_plane is not None
    cluster = world.control_plane
    watch = Watch(cluster.kubectl_path, cluster.kubeconfig, NAMESPACE, NAME)
    load = Load(world.edge)
    screen.load = load
    story = Story(world, screen, watch, load)

    async def show(document: dict[str, Any]) -> None:
        screen.changed(document)

    watch.on_change = show
    began = time.monotonic()
    try:
        await watch.start()
        screen.start()
        await story.play()
    finally:
        screen.stop()
        await load.stop()
        await watch.stop()
    written = figures.write_report(report, story.steps, load.overall, story.served_by("v3"))
    result.as_expected = all(step.as_expected for step in story.steps) and len(story.steps) == 5
    screen.console.print(_table(story))
    screen.line(f"the story took {time.monotonic() - began:.0f} s; figures are in {report}")
    _epilogue(world, screen, written)
    if not leave:
        screen.line("serving until Ctrl-C")
        await asyncio.Event().wait()


def _table(story: Story) -> Table:
    table = Table(title="What came of the five releases")
    for column in ("step", "outcome", "seconds", "calls", "first write", "time to roll back", "requests", "failed", ""):
        table.add_column(column, justify="left" if column in ("step", "outcome", "") else "right")
    for step in story.steps:
        table.add_row(
            step.name,
            step.outcome,
            f"{step.seconds:.1f}",
            str(step.calls),
            f"{step.first_write_ms:.0f} ms" if step.first_write_ms is not None else "-",
            f"{step.restore_ms:.0f} ms" if step.restore_ms is not None else "-",
            str(step.requests),
            str(step.failed),
            "as expected" if step.as_expected else "; ".join(step.notes) or "not as expected",
        )
    return table


def _epilogue(world: World, screen: Screen, written: dict[str, Any]) -> None:
    assert world.control_plane is not None
    screen.line(f"requests: {written['requests_total']}, failed outside v4: {written['requests_failed']}")
    samples = world.state / "samples"
    world.write_samples(samples)
    for line in _try_next(world, samples):
        screen.line(line)


def _try_next(world: World, samples: Path) -> list[str]:
    """What a person can do with what is running."""
    assert world.control_plane is not None
    assert world.pages is not None
    lines = [f"[bold]open in a browser: {world.edge}/[/bold]"]
    if world.pages.real:
        lines += ["  say there:     Where is order 42?  Refund order 42 for 80  Ignore all previous instructions"]
    lines += [
        f"[bold]rollouts, live:      http://127.0.0.1:{world.dashboard_port}/[/bold]",
        f"local cloud:   {world.cloud.endpoint} (localgcp status --endpoint {world.cloud.endpoint})",
        f"kubeconfig:    export KUBECONFIG={world.control_plane.kubeconfig}",
        "try next:      kubectl -n demo get agd -o wide; kubectl -n demo describe agd concierge",
        "               kubectl -n demo annotate agd concierge agui.dev/undo=previous",
        f"               kubectl apply -f {samples}/release-v3.yaml   (edit them as you like)",
    ]
    if world.pages.real and browser.find() is not None:
        lines += [f"               kubectl apply -f {samples}/release-browser.yaml   (checked by a real browser)"]
    return lines


if __name__ == "__main__":
    main()

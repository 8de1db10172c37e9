"""Shows the rollout live: a panel that redraws on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agui_dev.demo.load import Load
from agui_operator.core.rollout import TIMELINE

PHASES = tuple(str(phase) for phase in TIMELINE)


class Screen:
    """Output of the demo while it runs."""

    def __init__(self, *, plain: bool = False) -> None:
        terminal = sys.stdout.isatty()
        self.console = Console(highlight=False, width=None if terminal else 160, soft_wrap=not terminal)
        self._live: Live | None = None
        self._plain = plain or not sys.stdout.isatty()
        self._began = time.monotonic()
        self._title = ""
        self._last_line = ""
        self._object: dict[str, Any] = {}
        self.load: Load | None = None

    def start(self) -> None:
        if not self._plain:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, text: str) -> None:
        """One line that stays."""
        seconds = time.monotonic() - self._began
        self.console.print(f"[dim]{seconds:6.1f}s[/dim]  {text}")

    def chapter(self, title: str) -> None:
        self._title = title
        self.line(f"[bold]{title}[/bold]")

    def changed(self, document: dict[str, Any]) -> None:
        self._object = document
        status = document.get("status") or {}
        rollout = status.get("rollout") or {}
        weight, progress = rollout.get("weight"), rollout.get("progress")
        words = [str(status.get("phase", "")).ljust(12)]
        words += [f"step {progress}"] if progress and status.get("phase") in ("Progressing", "Paused") else []
        words += [f"weight {weight} %"] if weight is not None else []
        text = "  ".join(words)
        if text != self._last_line:
            self._last_line = text
            self.line(f"[cyan]{text}[/cyan]  [dim]{status.get('message', '')}[/dim]")

    def __rich__(self) -> Panel:
        status = self._object.get("status") or {}
        rollout = status.get("rollout") or {}
        phase = str(status.get("phase", ""))
        table = Table.grid(padding=(0, 2))
        release, stable = status.get("release") or {}, status.get("stable") or {}
        table.add_row("phase", Text(phase, style="bold cyan"), self._bar(int(rollout.get("weight") or 0)))
        table.add_row("release", release.get("version", "-"), release.get("id", ""))
        table.add_row("stable", stable.get("version", "-"), stable.get("id", ""))
        waiting = status.get("waitingFor") or {}
        table.add_row("waiting for", waiting.get("what", "-"), waiting.get("until", ""))
        if self.load is not None:
            tally = self.load.current
            style = "green" if tally.failed == 0 else "red"
            table.add_row("requests", str(tally.total), Text(f"{tally.failed} failed", style=style))
        return Panel(Group(self._path(phase), table), title=self._title, border_style="blue")

    def _bar(self, weight: int) -> Text:
        filled = round(weight / 5)
        return Text("█" * filled, style="green") + Text("░" * (20 - filled), style="dim") + Text(f" {weight} %")

    def _path(self, phase: str) -> Text:
        shown = "Progressing" if phase == "Paused" else phase
        at = PHASES.index(shown) if shown in PHASES else -1
        text = Text()
        for number, name in enumerate(PHASES):
            style = "bold cyan" if number == at else ("green" if number < at else "dim")
            text.append(("● " if number <= at else "○ ") + name + "  ", style=style)
        if at < 0 and phase:
            text.append(phase, style="bold red" if phase in ("RollingBack", "RolledBack", "Failed") else "yellow")
        return text

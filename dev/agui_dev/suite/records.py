"""How long each job took when it last passed: for the order of the next run and for its estimate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from agui_dev.suite.runner import Outcome


def read_seconds(file: Path) -> dict[str, float]:
    """Job -> seconds; empty where no run has ended yet or the file is damaged."""
    try:
        found = json.loads(file.read_text())
        return {str(name): float(entry["seconds"]) for name, entry in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Adds the jobs that passed to the file."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known |= {o.job.name: {"seconds": round(o.seconds, 1), "cpu": round(o.cpu, 1)} for o in outcomes if o.passed}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")

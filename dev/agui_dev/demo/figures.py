"""What the demo measures: read from the local cloud's ledger and from the object's own status, never from a stopwatch
beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agui_dev.demo.load import Tally


@dataclass(slots=True)
class Step:
    """One chapter of the story."""

    name: str
    outcome: str = ""
    expected: str = ""
    seconds: float = 0.0
    calls: int = 0
    first_write_ms: float | None = None
    restore_ms: float | None = None
    requests: int = 0
    failed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        return self.outcome == self.expected and not self.notes


def first_write_ms(entries: list[dict[str, Any]], accepted_at: float) -> float | None:
    """Milliseconds from the watch event of the new spec to the first mutating call of the operator."""
    times = [float(e["ts"]) for e in entries if e.get("write")]
    return round(max(0.0, min(times) - accepted_at) * 1000, 1) if times else None


def calls(entries: list[dict[str, Any]]) -> int:
    """Google Cloud calls of the operator, without the uploads of asset files."""
    return sum(1 for e in entries if e["kind"] == "call" and e["method"] != "storage.objects.insert")


def restore_ms(status: dict[str, Any]) -> float | None:
    """From the failed check to the moment at which everything was back on stable; milliseconds."""
    cause = (status.get("rollout") or {}).get("cause")
    history = status.get("history") or []
    if not cause or not history or history[0].get("outcome") not in ("RolledBack", "Failed"):
        return None
    began, ended = datetime.fromisoformat(cause["at"]), datetime.fromisoformat(history[0]["at"])
    return round((ended - began).total_seconds() * 1000, 1)


def write_report(path: Path, steps: list[Step], overall: Tally, served_by_v3: int) -> dict[str, Any]:
    """build/demo.json; returns what was written."""
    v4 = [s for s in steps if s.name.startswith("v4")]
    firsts = sorted(s.first_write_ms for s in steps if s.first_write_ms is not None)
    restores = [s.restore_ms for s in steps if s.restore_ms is not None]
    failed_v4 = sum(s.failed for s in v4)
    report: dict[str, Any] = {
        "steps": [asdict(s) | {"as_expected": s.as_expected} for s in steps],
        "apply_to_first_write_ms": firsts[len(firsts) // 2] if firsts else None,
        "failure_to_stable_ms": max(restores) if restores else None,
        "requests_total": overall.total,
        "requests_failed": overall.failed - failed_v4,
        "requests_failed_v4": failed_v4,
        "requests_served_by_v3": served_by_v3,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return report

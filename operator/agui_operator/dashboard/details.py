"""All that the page of one object shows, by the part of the page that it stands in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.waiting import NO_ACTION
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.chart import charts
from agui_operator.dashboard.facts import items, mapping, moment, number, text
from agui_operator.dashboard.meaning import condition_tone, deadline, outcome_tone
from agui_operator.dashboard.rows import Row, Tone, row_of
from agui_operator.dashboard.timeline import commands, timeline

_CHECK_KINDS = ("http", "websocket", "agent", "assets", "sql", "job")


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the spec and its verdict in this stage: passed, failed, or None while it has none."""

    name: str
    kind: str
    passed: bool | None
    message: str
    latency: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A release by its references. Of a secret only the variable and the number of its version are known here."""

    role: str
    id: str
    version: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A rollout that ended. `took` is in seconds."""

    at: datetime | None
    version: str
    release: str
    outcome: str
    tone: Tone
    reason: str
    took: str


def parts_of(entry: Entry) -> dict[str, dict[str, Any]]:
    """Part of the page -> what its template is given."""
    status = entry.status
    row = row_of(entry)
    return {
        "headline": {
            "row": row,
            "url": _link(text(status, "url")),
            "wait": _wait(entry),
            "generation": entry.generation,
        },
        "traffic": {"row": row, "stable": text(status, "stable", "version")},
        "way": {"stages": timeline(entry)},
        "analysis": _analysis(entry),
        "checks": {"checks": _checks(entry)},
        "releases": {"releases": _releases(status, row)},
        "commands": {"commands": commands(entry), "last": _request(status)},
        "history": {"past": _history(status)},
        "progress": {"lines": list(entry.lines)},
        "conditions": {"conditions": _conditions(status, row.tone)},
    }


def _wait(entry: Entry) -> dict[str, Any]:
    """What it waits for. A next step is named only where there is one."""
    waiting = mapping(entry.status, "waitingFor")
    unblock = text(waiting, "unblockWith")
    return {
        "what": text(waiting, "what"),
        "since": moment(waiting, "since"),
        "until": moment(waiting, "until"),
        "deadline": deadline(entry),
        "next": "" if unblock.startswith(NO_ACTION) else unblock,
    }


def _link(url: str) -> str:
    """Only what a browser opens as a page: a link is the one place where text can act."""
    return url if url.startswith(("https://", "http://")) else ""


def _analysis(entry: Entry) -> dict[str, Any]:
    found = mapping(entry.status, "rollout", "analysis")
    newest = entry.measurements[-1] if entry.measurements else None
    return {
        "verdict": text(found, "verdict"),
        "message": text(found, "message"),
        "charts": charts(list(entry.measurements)),
        "requests": newest.requests if newest else None,
        "wanted": newest.wanted if newest else None,
        "release": newest.release if newest else "",
        "earlier": newest is not None and newest.release != text(entry.status, "release", "id"),
        "asked": bool(mapping(entry.spec, "strategy", "canary", "analysis")),
    }


def _checks(entry: Entry) -> list[Check]:
    verdicts = mapping(entry.status, "rollout", "verdicts")
    shown = []
    for check in items(entry.spec, "smoke"):
        name = text(check, "name")
        verdict = mapping(verdicts, name)
        passed = verdict.get("passed")
        latency = verdict.get("latencyMs")
        shown.append(
            Check(
                name=name,
                kind=next((kind for kind in _CHECK_KINDS if kind in check), ""),
                passed=passed if isinstance(passed, bool) else None,
                message=text(verdict, "message"),
                latency=f"{latency:,.0f} ms" if isinstance(latency, int | float) else "",
            )
        )
    return shown


def _releases(status: Mapping[str, Any], row: Row) -> list[Facts]:
    """Where the pointer is and what may take its place."""
    stable, release = mapping(status, "stable"), mapping(status, "release")
    phase = text(status, "phase")
    rest = 100 - (row.weight or 0) if phase in IN_FLIGHT or phase == Phase.PAUSED else 100
    found = [_facts(f"Stable: receives {rest} % of the traffic", stable)] if stable else []
    if text(release, "id") not in ("", text(stable, "id")):
        role = "Candidate" if phase in IN_FLIGHT or phase == Phase.ROLLING_BACK else "Rolled back"
        found.append(_facts(role, release))
    undo = mapping(status, "rollout", "undoTo")
    if undo and phase in (Phase.UNDOING, Phase.ROLLING_BACK):
        found.append(_facts("Being restored", undo))
    return found


def _facts(role: str, release: Mapping[str, Any]) -> Facts:
    secrets = mapping(release, "secrets")
    lines = (
        ("Backend", text(release, "backend")),
        ("Migrations", text(release, "migrations")),
        ("Schema asked for", text(release, "target")),
        ("Schema reported", text(release, "schema")),
        ("Page", text(release, "frontend")),
        ("Secrets", ", ".join(f"{name}: version {text(secrets, name)}" for name in sorted(secrets))),
        ("Artifact", text(release, "artifact")),
    )
    return Facts(role, text(release, "id"), text(release, "version"), tuple(line for line in lines if line[1]))


def _request(status: Mapping[str, Any]) -> dict[str, Any] | None:
    asked = mapping(status, "lastRequest")
    if not asked:
        return None
    return {"message": text(asked, "message"), "accepted": asked.get("accepted") is True, "at": moment(asked, "at")}


def _history(status: Mapping[str, Any]) -> list[Past]:
    return [
        Past(
            at=moment(past, "at"),
            version=text(past, "release", "version"),
            release=text(past, "release", "id"),
            outcome=text(past, "outcome"),
            tone=outcome_tone(text(past, "outcome")),
            reason=text(past, "reason"),
            took=_took(past.get("seconds")),
        )
        for past in items(status, "history")
    ]


def _took(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _conditions(status: Mapping[str, Any], overall: Tone) -> list[dict[str, Any]]:
    return [
        {
            "type": text(c, "type"),
            "status": text(c, "status"),
            "tone": condition_tone(c, overall),
            "reason": text(c, "reason"),
            "message": text(c, "message"),
            "since": moment(c, "lastTransitionTime"),
            "generation": number(c, "observedGeneration"),
        }
        for c in items(status, "conditions")
    ]

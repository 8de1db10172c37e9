"""What is remembered between turns: only what can't be looked up again. It lives in `.status` and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import CheckResult, Finding, Verdict


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a rollout is taken back. `rejects`: the same spec is not tried again without a retry."""

    reason: str
    message: str
    phase: Phase
    at: datetime
    rejects: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    fingerprint: str
    release: str
    version: str
    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One finished rollout, newest first in the list. `release` is whole, so that an undo can name it again."""

    release: Release
    outcome: str
    reason: str
    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The last request by annotation and what became of it."""

    kind: str
    value: str
    accepted: bool
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    phase: Phase = Phase.PENDING
    since: datetime | None = None  # of this phase or step
    started: datetime | None = None  # of this rollout
    step: int = 0
    held_by: str = ""  # Step | Request | Analysis | Suspend | Policy
    candidate: Release | None = None
    stable: Release | None = None
    undo_to: Release | None = None
    cause: Cause | None = None
    rejected: Rejected | None = None
    verdicts: Mapping[str, CheckResult] = field(default_factory=dict)
    analysis: Finding | None = None
    history: tuple[HistoryEntry, ...] = ()
    acknowledged: Acknowledged | None = None

    @property
    def serving(self) -> Release | None:
        """The release that users should meet at the end of a roll-back: an undo's target, else stable."""
        return self.undo_to or self.stable


def attempt_id(release: Release, history: tuple[HistoryEntry, ...]) -> Release:
    """Gives a release that was tried before an id of its own (`3f9c..-2`), so that every try has own names and a
    revision or job that failed once is never mistaken for the new one."""
    tried = {entry.release.id for entry in history}
    number, candidate = 1, release.id
    while candidate in tried:
        number += 1
        candidate = f"{release.id}-{number}"
    return replace(release, id=candidate)


def to_status(memory: Memory) -> dict[str, Any]:
    """The part of `.status` from which `from_status` gets the same memory back. Times have microseconds cut."""
    rollout = {
        "phase": str(memory.phase),
        "since": _time(memory.since),
        "started": _time(memory.started),
        "step": memory.step,
        "heldBy": memory.held_by or None,
        "verdicts": {name: _check(c) for name, c in memory.verdicts.items()} or None,
        "analysis": _finding(memory.analysis),
        "undoTo": memory.undo_to.to_status() if memory.undo_to else None,
        "cause": _cause(memory.cause),
    }
    return {
        "phase": str(memory.phase),
        "release": _about(memory),
        "stable": memory.stable.to_status() if memory.stable else None,
        "rollout": {k: v for k, v in rollout.items() if v is not None},
        "rejected": _rejected(memory.rejected),
        "history": [_entry(e) for e in memory.history],
        "lastRequest": _acknowledged(memory.acknowledged),
    }


def from_status(status: Mapping[str, Any] | None) -> Memory:
    """The memory in a status; what is missing or was damaged by hand becomes its default."""
    status = status if isinstance(status, Mapping) else {}
    rollout = status.get("rollout")
    rollout = rollout if isinstance(rollout, Mapping) else {}
    raw_phase = rollout.get("phase") or status.get("phase")
    phase = Phase(raw_phase) if raw_phase in set(Phase) else Phase.PENDING
    verdicts = rollout.get("verdicts")
    return Memory(
        phase=phase,
        since=_when(rollout.get("since")),
        started=_when(rollout.get("started")),
        step=int(rollout.get("step") or 0),
        held_by=str(rollout.get("heldBy") or ""),
        candidate=Release.from_status(status.get("release")) if phase in IN_FLIGHT | {Phase.ROLLING_BACK} else None,
        stable=Release.from_status(status.get("stable")),
        undo_to=Release.from_status(rollout.get("undoTo")),
        cause=_parse_cause(rollout.get("cause")),
        rejected=_parse_rejected(status.get("rejected")),
        verdicts={n: _parse_check(n, c) for n, c in verdicts.items()} if isinstance(verdicts, Mapping) else {},
        analysis=_parse_finding(rollout.get("analysis")),
        history=tuple(e for raw in status.get("history") or () if (e := _parse_entry(raw)) is not None),
        acknowledged=_parse_acknowledged(status.get("lastRequest")),
    )


def _about(memory: Memory) -> dict[str, Any] | None:
    """The release that the phase is about: the one in flight, the stable one, or the one that was taken back."""
    release = memory.candidate
    if release is None and memory.phase is Phase.HEALTHY:
        release = memory.stable
    if release is None and memory.phase in (Phase.ROLLED_BACK, Phase.FAILED) and memory.history:
        release = memory.history[0].release
    return release.to_status() if release else None


def _time(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None


def _when(raw: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(raw)) if raw else None
    except ValueError:
        return None


def _check(result: CheckResult) -> dict[str, Any]:
    raw = {"passed": result.passed, "message": result.message, "latencyMs": result.latency_ms, "code": result.code}
    return {k: v for k, v in raw.items() if v is not None and v != ""}


def _parse_check(name: str, raw: Mapping[str, Any]) -> CheckResult:
    return CheckResult(name, raw.get("passed"), str(raw.get("message", "")), raw.get("latencyMs"), raw.get("code"))


def _finding(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    values = {name: f"{value:.6g}" for name, value in finding.values.items()}
    return {"verdict": str(finding.verdict), "message": finding.message, "values": values}


def _parse_finding(raw: Any) -> Finding | None:
    if not isinstance(raw, Mapping) or raw.get("verdict") not in set(Verdict):
        return None
    values = {str(k): float(v) for k, v in (raw.get("values") or {}).items()}
    return Finding(Verdict(raw["verdict"]), str(raw.get("message", "")), values)


def _cause(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    return {
        "reason": cause.reason,
        "message": cause.message,
        "phase": str(cause.phase),
        "at": _time(cause.at),
        "rejects": cause.rejects,
    }


def _parse_cause(raw: Any) -> Cause | None:
    at = _when(raw.get("at")) if isinstance(raw, Mapping) else None
    if at is None or raw.get("phase") not in set(Phase):
        return None
    return Cause(str(raw.get("reason")), str(raw.get("message")), Phase(raw["phase"]), at, bool(raw.get("rejects")))


def _rejected(rejected: Rejected | None) -> dict[str, Any] | None:
    if rejected is None:
        return None
    return {
        "fingerprint": rejected.fingerprint,
        "release": rejected.release,
        "version": rejected.version,
        "reason": rejected.reason,
        "message": rejected.message,
        "at": _time(rejected.at),
    }


def _parse_rejected(raw: Any) -> Rejected | None:
    at = _when(raw.get("at")) if isinstance(raw, Mapping) else None
    if at is None:
        return None
    fingerprint, release, version = (str(raw.get(k, "")) for k in ("fingerprint", "release", "version"))
    return Rejected(fingerprint, release, version, str(raw.get("reason", "")), str(raw.get("message", "")), at)


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "release": entry.release.to_status(),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "at": _time(entry.at),
        "seconds": round(entry.seconds, 1),
    }


def _parse_entry(raw: Any) -> HistoryEntry | None:
    release = Release.from_status(raw.get("release")) if isinstance(raw, Mapping) else None
    at = _when(raw.get("at")) if release else None
    if release is None or at is None:
        return None
    return HistoryEntry(
        release, str(raw.get("outcome", "")), str(raw.get("reason", "")), at, float(raw.get("seconds") or 0)
    )


def _acknowledged(ack: Acknowledged | None) -> dict[str, Any] | None:
    if ack is None:
        return None
    return {
        "kind": ack.kind,
        "value": ack.value,
        "accepted": ack.accepted,
        "message": ack.message,
        "at": _time(ack.at),
    }


def _parse_acknowledged(raw: Any) -> Acknowledged | None:
    at = _when(raw.get("at")) if isinstance(raw, Mapping) else None
    if at is None:
        return None
    return Acknowledged(
        str(raw.get("kind")), str(raw.get("value", "")), bool(raw.get("accepted")), str(raw.get("message", "")), at
    )

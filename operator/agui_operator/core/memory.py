"""What is remembered between turns: only what can't be looked up again. It lives in `.status` and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from agui_operator.api.conditions import Reason
from agui_operator.core import steps as canary_steps
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import AnalysisResult, CheckResult, Verdict
from agui_operator.core.steps import Walk

T = TypeVar("T", bound=StrEnum)


class HeldBy(StrEnum):
    """What a paused rollout waits for."""

    STEP = "Step"  # a pause step without duration
    REQUEST = "Request"  # agui.dev/pause
    ANALYSIS = "Analysis"  # an analysis without a verdict
    POLICY = "Policy"  # a freeze, the stop button, spec.suspend or a missing permission


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a rollout is rolled back. `rejects`: the same spec is not rolled out again without a retry."""

    reason: Reason
    message: str
    phase: Phase
    at: datetime
    rejects: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    """`release` and `version` are empty if the rollout ended before the release had an id."""

    fingerprint: str
    release: str
    version: str
    reason: Reason
    message: str
    at: datetime

    @property
    def title(self) -> str:
        return f"Release {self.version} ({self.release})" if self.release else "The release"


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
class Obeyed:
    """A request that was accepted for the spec with this fingerprint. `repeated`: a manifest asks for it again, and was
    refused."""

    kind: str
    value: str
    fingerprint: str
    at: datetime
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    phase: Phase = Phase.PENDING
    since: datetime | None = None  # of this phase or step
    started: datetime | None = None  # of this rollout
    held_since: datetime | None = None  # since when a hold keeps a phase before the canary from its next write
    step: int = 0
    walk: Walk | None = None  # the canary's steps; None: those of the spec
    weight_since: datetime | None = None  # since when the candidate has its present share of the traffic
    held_by: HeldBy | None = None
    candidate: Release | None = None
    stable: Release | None = None
    undo_to: Release | None = None
    cause: Cause | None = None
    rejected: Rejected | None = None
    verdicts: Mapping[str, CheckResult] = field(default_factory=dict)
    analysis: AnalysisResult | None = None
    history: tuple[HistoryEntry, ...] = ()
    acknowledged: Acknowledged | None = None
    obeyed: tuple[Obeyed, ...] = ()

    @property
    def serving(self) -> Release | None:
        """The release that users should meet at the end of a roll-back: an undo's target, else stable."""
        return self.undo_to or self.stable


def attempt_id(release: Release, history: tuple[HistoryEntry, ...]) -> Release:
    """A release that was attempted before gets an id of its own (`3f9c..-2`), so that every attempt has its own names
    and a revision or job that failed once is never mistaken for the new one."""
    tries = [_number_of_try(entry.release.id, release.id) for entry in history]
    last = max(tries, default=0)  # not the first free number: the history forgets its oldest tries
    return replace(release, id=f"{release.id}-{last + 1}") if last else release


def _number_of_try(tried: str, release: str) -> int:
    """1 for the release id itself, 2 for `<id>-2`, 0 for another release."""
    suffix = tried.removeprefix(f"{release}-")
    if tried == release:
        return 1
    return int(suffix) if suffix != tried and suffix.isdecimal() else 0


def to_status(memory: Memory) -> dict[str, Any]:
    """The part of `.status` from which `from_status` gets the same memory back."""
    rollout = {
        "phase": str(memory.phase),
        "since": _time(memory.since),
        "started": _time(memory.started),
        "heldSince": _time(memory.held_since),
        "step": memory.step,
        **canary_steps.to_status(memory.walk),
        "weightSince": _time(memory.weight_since),
        "heldBy": str(memory.held_by) if memory.held_by else None,
        "verdicts": {name: _check(c) for name, c in memory.verdicts.items()} or None,
        "analysis": _finding(memory.analysis),
        "undoTo": memory.undo_to.to_status() if memory.undo_to else None,
        "cause": _cause(memory.cause),
        "obeyed": [_obeyed(o) for o in memory.obeyed] or None,
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
    status = _map(status)
    rollout = _map(status.get("rollout"))
    phase = _member(rollout.get("phase") or status.get("phase"), Phase) or Phase.PENDING
    step = rollout.get("step")
    return Memory(
        phase=phase,
        since=_when(rollout.get("since")),
        started=_when(rollout.get("started")),
        held_since=_when(rollout.get("heldSince")),
        step=max(0, step) if isinstance(step, int) else 0,
        walk=canary_steps.from_status(rollout),
        weight_since=_when(rollout.get("weightSince")),
        held_by=_member(rollout.get("heldBy"), HeldBy),
        candidate=Release.from_status(status.get("release")) if phase in IN_FLIGHT | {Phase.ROLLING_BACK} else None,
        stable=Release.from_status(status.get("stable")),
        undo_to=Release.from_status(rollout.get("undoTo")),
        cause=_parse_cause(rollout.get("cause")),
        rejected=_parse_rejected(status.get("rejected")),
        verdicts={n: _parse_check(n, c) for n, c in _map(rollout.get("verdicts")).items() if isinstance(c, Mapping)},
        analysis=_parse_finding(rollout.get("analysis")),
        history=tuple(e for raw in _list(status.get("history")) if (e := _parse_entry(raw)) is not None),
        acknowledged=_parse_acknowledged(status.get("lastRequest")),
        obeyed=tuple(o for raw in _list(rollout.get("obeyed")) if (o := _parse_obeyed(raw)) is not None),
    )


def _about(memory: Memory) -> dict[str, Any] | None:
    """The release that the phase is about: the one in flight, the stable one, or the one that was rolled back."""
    release = memory.candidate
    if release is None and memory.phase is Phase.HEALTHY:
        release = memory.stable
    if release is None and memory.phase in (Phase.ROLLED_BACK, Phase.FAILED) and memory.history:
        release = memory.history[0].release
    return release.to_status() if release else None


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


def _when(raw: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) else None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) if at else None
    except (ValueError, OverflowError):
        return None


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _list(raw: Any) -> Sequence[Any]:
    return raw if isinstance(raw, list | tuple) else ()


def _number(raw: Any) -> float | None:
    try:
        value = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _member(raw: Any, known: type[T]) -> T | None:
    return known(raw) if isinstance(raw, str) and raw in set(known) else None


def _reason(raw: Mapping[str, Any]) -> Reason:
    return _member(raw.get("reason"), Reason) or Reason.UNKNOWN


def _check(result: CheckResult) -> dict[str, Any]:
    raw = {
        "passed": result.passed,
        "message": result.message,
        "latencyMs": result.latency_ms,
        "code": result.code,
        "check": result.check,
    }
    return {k: v for k, v in raw.items() if v is not None and v != ""}


def _parse_check(name: str, raw: Mapping[str, Any]) -> CheckResult:
    passed, code = raw.get("passed"), raw.get("code")
    return CheckResult(
        name,
        passed if isinstance(passed, bool) else None,
        str(raw.get("message", "")),
        _number(raw.get("latencyMs")),
        code if isinstance(code, int) else None,
        str(raw.get("check", "")),
    )


def _finding(finding: AnalysisResult | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    values = {name: f"{value:.6g}" for name, value in finding.values.items()}
    return {"verdict": str(finding.verdict), "message": finding.message, "values": values}


def _parse_finding(raw: Any) -> AnalysisResult | None:
    verdict = _member(_map(raw).get("verdict"), Verdict)
    if verdict is None:
        return None
    values = {k: value for k, v in _map(raw.get("values")).items() if (value := _number(v)) is not None}
    return AnalysisResult(verdict, str(raw.get("message", "")), values)


def _cause(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    return {
        "reason": str(cause.reason),
        "message": cause.message,
        "phase": str(cause.phase),
        "at": _time(cause.at),
        "rejects": cause.rejects,
    }


def _parse_cause(raw: Any) -> Cause | None:
    at = _when(raw.get("at")) if isinstance(raw, Mapping) else None
    phase = _member(_map(raw).get("phase"), Phase)
    if at is None or phase is None:
        return None
    return Cause(_reason(raw), str(raw.get("message")), phase, at, bool(raw.get("rejects")))


def _rejected(rejected: Rejected | None) -> dict[str, Any] | None:
    if rejected is None:
        return None
    return {
        "fingerprint": rejected.fingerprint,
        "release": rejected.release,
        "version": rejected.version,
        "reason": str(rejected.reason),
        "message": rejected.message,
        "at": _time(rejected.at),
    }


def _parse_rejected(raw: Any) -> Rejected | None:
    at = _when(raw.get("at")) if isinstance(raw, Mapping) else None
    if at is None:
        return None
    fingerprint, release, version = (str(raw.get(k, "")) for k in ("fingerprint", "release", "version"))
    return Rejected(fingerprint, release, version, _reason(raw), str(raw.get("message", "")), at)


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
        release, str(raw.get("outcome", "")), str(raw.get("reason", "")), at, _number(raw.get("seconds")) or 0.0
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


def _obeyed(obeyed: Obeyed) -> dict[str, Any]:
    raw = {
        "kind": obeyed.kind,
        "value": obeyed.value,
        "fingerprint": obeyed.fingerprint,
        "at": _time(obeyed.at),
        "repeated": obeyed.repeated or None,
    }
    return {k: v for k, v in raw.items() if v is not None}


def _parse_obeyed(raw: Any) -> Obeyed | None:
    at = _when(_map(raw).get("at"))
    if at is None:
        return None
    kind, value, fingerprint = (str(raw.get(k, "")) for k in ("kind", "value", "fingerprint"))
    return Obeyed(kind, value, fingerprint, at, raw.get("repeated") is True)

"""What is remembered between turns: only what can't be looked up again. It lives in `.status` and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core import past
from agui_operator.core import place as places
from agui_operator.core import steps as canary_steps
from agui_operator.core.parsing import items, mapping, member, number, time_of, time_text
from agui_operator.core.past import Ring
from agui_operator.core.place import PlaceRecord
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import AnalysisResult, CheckResult, Verdict
from agui_operator.core.steps import Walk

_WITH_CANDIDATE = IN_FLIGHT | {Phase.UNDOING, Phase.ROLLING_BACK}
_NEEDS_CANDIDATE = _WITH_CANDIDATE - {Phase.RESOLVING, Phase.ROLLING_BACK}  # Resolving may be rolled back without one


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
    procedure: str = ""  # how the release was tried when it failed


@dataclass(frozen=True, slots=True)
class Rejected:
    """`release` and `version` are empty if the rollout ended before the release had an id."""

    fingerprint: str
    release: str
    version: str
    reason: Reason
    message: str
    at: datetime
    procedure: str = ""  # how it was tried; empty: not recorded, or what it is made of decides alone

    def covers(self, fingerprint: str, procedure: str) -> bool:
        """True if a spec asks for what was rejected, to be tried in the same way."""
        return fingerprint == self.fingerprint and self.procedure in ("", procedure)

    @property
    def title(self) -> str:
        return f"Release {self.version} ({self.release})" if self.release else "The release"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One finished rollout: an entry of the audit log, on which no decision depends."""

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
    history: tuple[HistoryEntry, ...] = ()  # newest first
    promoted: Ring = ()
    attempts: Mapping[str, int] = field(default_factory=dict)  # highest number by release id
    acknowledged: Acknowledged | None = None
    place: PlaceRecord | None = None  # None: no release has begun, or an earlier version wrote the status
    obeyed: tuple[Obeyed, ...] = ()
    schema_floor: str | None = None  # the oldest code that the database supports, as the newest release reported

    @property
    def serving(self) -> Release | None:
        """The release that users should meet at the end of a roll-back: an undo's target, else stable."""
        return self.undo_to or self.stable

    @property
    def past(self) -> tuple[Release, ...]:
        """Every release of the audit log and of the promoted ones."""
        return (*(e.release for e in self.history), *(p.release for p in self.promoted))


def begin_attempt(memory: Memory, release: Release, tried_before: Iterable[str] = ()) -> Memory:
    """A release that was attempted before gets an id of its own (`3f9c..-2`), so that every attempt has its own names
    and a revision or job that failed once is never mistaken for the new one. No number is used again: not one that the
    status knows, and not one of `tried_before`, of which the cloud has something."""
    named = [*tried_before, *(earlier.id for earlier in memory.past)]
    named += [memory.stable.id] if memory.stable else []
    named += [memory.rejected.release] if memory.rejected else []
    tried = [past.number_of_attempt(name, release.id) for name in named]
    number_now = 1 + max([*tried, memory.attempts.get(release.id, 0)])
    candidate = replace(release, id=f"{release.id}-{number_now}") if number_now > 1 else release
    attempts = past.attempted(memory.attempts, release.id, number_now)
    return replace(memory, candidate=candidate, attempts=attempts)


def to_status(memory: Memory) -> dict[str, Any]:
    """The part of `.status` from which `from_status` gets the same memory back."""
    rollout = {
        "phase": str(memory.phase),
        "since": time_text(memory.since),
        "started": time_text(memory.started),
        "heldSince": time_text(memory.held_since),
        "step": memory.step,
        **canary_steps.to_status(memory.walk),
        "weightSince": time_text(memory.weight_since),
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
        "promoted": past.promoted_to_status(memory.promoted),
        "attempts": past.attempts_to_status(memory.attempts),
        "lastRequest": _acknowledged(memory.acknowledged),
        "place": places.to_status(memory.place),
        "schemaFloor": memory.schema_floor,
    }


def from_status(status: Mapping[str, Any] | None) -> Memory:
    """The memory in a status; what is missing or was damaged by hand becomes its default."""
    status = mapping(status)
    rollout = mapping(status.get("rollout"))
    phase = member(rollout.get("phase") or status.get("phase"), Phase) or Phase.PENDING
    history = tuple(e for raw in items(status.get("history")) if (e := _parse_entry(raw)) is not None)
    stable = Release.from_status(status.get("stable"))
    step = rollout.get("step")
    candidate = Release.from_status(status.get("release")) if phase in _WITH_CANDIDATE else None
    cause = _parse_cause(rollout.get("cause"))
    if candidate is None and (phase in _NEEDS_CANDIDATE or (phase is Phase.ROLLING_BACK and cause is None)):
        phase = Phase.PENDING  # a part of the status was lost: what serves is found again, and the spec gets its turn
    return Memory(
        phase=phase,
        since=time_of(rollout.get("since")),
        started=time_of(rollout.get("started")),
        held_since=time_of(rollout.get("heldSince")),
        step=max(0, step) if isinstance(step, int) else 0,
        walk=canary_steps.from_status(rollout),
        weight_since=time_of(rollout.get("weightSince")),
        held_by=member(rollout.get("heldBy"), HeldBy),
        candidate=candidate,
        stable=stable,
        undo_to=Release.from_status(rollout.get("undoTo")),
        cause=cause,
        rejected=_parse_rejected(status.get("rejected")),
        verdicts={n: _parse_check(n, c) for n, c in mapping(rollout.get("verdicts")).items() if isinstance(c, Mapping)},
        analysis=_parse_finding(rollout.get("analysis")),
        history=history,
        promoted=_parse_promoted(status.get("promoted"), history, stable),
        attempts=past.attempts_from_status(status.get("attempts")),
        acknowledged=_parse_acknowledged(status.get("lastRequest")),
        place=places.from_status(status.get("place")),
        obeyed=tuple(o for raw in items(rollout.get("obeyed")) if (o := _parse_obeyed(raw)) is not None),
        schema_floor=floor if isinstance(floor := status.get("schemaFloor"), str) and floor else None,
    )


def _parse_promoted(raw: Any, history: tuple[HistoryEntry, ...], stable: Release | None) -> Ring:
    """The promoted releases; from the audit log where an operator that knew no others wrote the status."""
    if isinstance(raw, list | tuple):
        return past.promoted_from_status(raw)
    return past.restored(((e.release, e.outcome, e.at) for e in history), stable)


def _about(memory: Memory) -> dict[str, Any] | None:
    """The release that the phase is about: the one in flight, the stable one, or the one that was rolled back."""
    release = memory.candidate
    if release is None and memory.phase is Phase.HEALTHY:
        release = memory.stable
    if release is None and memory.phase in (Phase.ROLLED_BACK, Phase.FAILED) and memory.history:
        release = memory.history[0].release
    return release.to_status() if release else None


def _reason(raw: Mapping[str, Any]) -> Reason:
    return member(raw.get("reason"), Reason) or Reason.UNKNOWN


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
        number(raw.get("latencyMs")),
        code if isinstance(code, int) else None,
        str(raw.get("check", "")),
    )


def _finding(finding: AnalysisResult | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    values = {name: f"{value:.6g}" for name, value in finding.values.items()}
    return {"verdict": str(finding.verdict), "message": finding.message, "values": values}


def _parse_finding(raw: Any) -> AnalysisResult | None:
    verdict = member(mapping(raw).get("verdict"), Verdict)
    if verdict is None:
        return None
    values = {k: value for k, v in mapping(raw.get("values")).items() if (value := number(v)) is not None}
    return AnalysisResult(verdict, str(raw.get("message", "")), values)


def _cause(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    return {
        "reason": str(cause.reason),
        "message": cause.message,
        "phase": str(cause.phase),
        "at": time_text(cause.at),
        "rejects": cause.rejects,
        "procedure": cause.procedure or None,
    }


def _parse_cause(raw: Any) -> Cause | None:
    at = time_of(raw.get("at")) if isinstance(raw, Mapping) else None
    phase = member(mapping(raw).get("phase"), Phase)
    if at is None or phase is None:
        return None
    rejects, procedure = bool(raw.get("rejects")), str(raw.get("procedure") or "")
    return Cause(_reason(raw), str(raw.get("message")), phase, at, rejects, procedure)


def _rejected(rejected: Rejected | None) -> dict[str, Any] | None:
    if rejected is None:
        return None
    return {
        "fingerprint": rejected.fingerprint,
        "release": rejected.release,
        "version": rejected.version,
        "reason": str(rejected.reason),
        "message": rejected.message,
        "at": time_text(rejected.at),
        "procedure": rejected.procedure or None,
    }


def _parse_rejected(raw: Any) -> Rejected | None:
    at = time_of(raw.get("at")) if isinstance(raw, Mapping) else None
    if at is None:
        return None
    fingerprint, release, version = (str(raw.get(k, "")) for k in ("fingerprint", "release", "version"))
    message, procedure = str(raw.get("message", "")), str(raw.get("procedure") or "")
    return Rejected(fingerprint, release, version, _reason(raw), message, at, procedure)


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "release": entry.release.to_status(),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "at": time_text(entry.at),
        "seconds": round(entry.seconds, 1),
    }


def _parse_entry(raw: Any) -> HistoryEntry | None:
    release = Release.from_status(raw.get("release")) if isinstance(raw, Mapping) else None
    at = time_of(raw.get("at")) if release else None
    if release is None or at is None:
        return None
    return HistoryEntry(
        release, str(raw.get("outcome", "")), str(raw.get("reason", "")), at, number(raw.get("seconds")) or 0.0
    )


def _acknowledged(ack: Acknowledged | None) -> dict[str, Any] | None:
    if ack is None:
        return None
    return {
        "kind": ack.kind,
        "value": ack.value,
        "accepted": ack.accepted,
        "message": ack.message,
        "at": time_text(ack.at),
    }


def _parse_acknowledged(raw: Any) -> Acknowledged | None:
    at = time_of(raw.get("at")) if isinstance(raw, Mapping) else None
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
        "at": time_text(obeyed.at),
        "repeated": obeyed.repeated or None,
    }
    return {k: v for k, v in raw.items() if v is not None}


def _parse_obeyed(raw: Any) -> Obeyed | None:
    at = time_of(mapping(raw).get("at"))
    if at is None:
        return None
    kind, value, fingerprint = (str(raw.get(k, "")) for k in ("kind", "value", "fingerprint"))
    return Obeyed(kind, value, fingerprint, at, raw.get("repeated") is True)

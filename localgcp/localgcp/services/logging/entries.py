"""Log entries of what ran on the local Cloud Run, read from the files that its containers wrote.

A line is an entry, and a JSON object on one line a structured one, as on Cloud Run. A line has the time at which it was
seen first, which is at most that of the file's last change, or the `time` that a structured entry names.
Sources: https://cloud.google.com/logging/docs/reference/v2/rpc/google.logging.v2#loggingservicev2,
https://cloud.google.com/run/docs/logging
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import logging_v2

from localgcp.kit.errors import invalid, unimplemented
from localgcp.kit.filters import Comparison, Dialect, matching, parse
from localgcp.kit.interfaces import CONTAINER_LOGS, Output
from localgcp.kit.paging import Limits, proto_page

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_LogEntry: Any = logging_v2.types.LogEntry.pb()
_Page: Any = logging_v2.types.ListLogEntriesResponse.pb()
_PAGE = Limits(default=50, largest=1000)
_PARENT = re.compile(r"projects/([^/]+)")
_LONGEST = 256 * 1024  # bytes of an entry
_SEVERITIES = {  # google/logging/type/log_severity.proto
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
_LABEL = "run.googleapis.com/"
# Fields of a structured line that become parts of the entry: https://cloud.google.com/logging/docs/structured-logging
_SPECIAL = frozenset(
    {"severity", "time", *(f"logging.googleapis.com/{n}" for n in ("trace", "spanId", "trace_sampled", "labels"))}
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file, where it begins, and when it was seen first (nanoseconds)."""

    text: str
    offset: int
    seen: int


class Logging:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._seen: dict[Path, list[tuple[int, int]]] = {}  # (bytes, nanoseconds): how long the file was when

    async def ListLogEntries(self, request: Any, call: Call) -> Any:
        projects = [self._project(name) for name in request.resource_names]
        if not projects:
            raise invalid("At least one resource name is required.", "resource_names")
        order = " ".join(request.order_by.split()) or "timestamp asc"
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise invalid(f"Invalid order_by [{request.order_by}]: timestamp asc or timestamp desc.", "order_by")
        wanted = _names_in(request.filter)
        entries = [
            entry
            for project in dict.fromkeys(projects)
            for output in self._cloud.part(CONTAINER_LOGS).outputs(project)
            if not wanted or output.workload.name in wanted
            for entry in self._entries(output)
        ]
        found = matching(entries, request.filter, _field, _DIALECT)
        sign = -1 if order.endswith("desc") else 1
        page, token = proto_page(request, found, lambda entry: _key(entry, sign), _PAGE)
        return _Page(entries=page, next_page_token=token)

    async def reset(self) -> None:
        self._seen.clear()

    def _project(self, name: str) -> str:
        match = _PARENT.fullmatch(name)
        if match is None:
            raise unimplemented(f"Only projects have logs here, not [{name}].")
        return self._cloud.settings.project_id(match[1])

    def _entries(self, output: Output) -> Iterator[Any]:
        for line in self._lines(output.path):
            if line.text.strip():
                yield _entry(output, line)

    def _lines(self, path: Path) -> Iterator[_Line]:
        try:
            content, changed = path.read_bytes(), path.stat().st_mtime_ns
        except OSError:
            return
        marks = self._seen.setdefault(path, [])
        if not marks or marks[-1][0] < len(content):
            marks.append((len(content), min(changed, time.time_ns())))
        offset, at = 0, iter(marks)
        length, seen = next(at, (0, 0))
        for raw in content.splitlines(keepends=True):
            while offset >= length and (more := next(at, None)) is not None:
                length, seen = more
            yield _Line(raw[:_LONGEST].decode("utf-8", "replace").rstrip("\r\n"), offset, seen)
            offset += len(raw)


def _entry(output: Output, line: _Line) -> Any:
    project, location, name = output.workload.project, output.workload.location, output.workload.name
    entry = _LogEntry(
        log_name=f"projects/{project}/logs/run.googleapis.com%2F{output.stream.replace('/', '%2F')}",
        insert_id=f"{name}-{output.path.stem}-{output.stream.replace('/', '-')}-{line.offset:012}",
    )
    entry.timestamp.FromNanoseconds(line.seen)
    labels = entry.resource.labels
    labels["project_id"], labels["location"] = project, location
    if output.is_job:
        entry.resource.type, labels["job_name"] = "cloud_run_job", output.owner
        _, index, attempt = output.path.stem.split("-")
        entry.labels[f"{_LABEL}execution_name"] = name
        entry.labels[f"{_LABEL}task_index"], entry.labels[f"{_LABEL}task_attempt"] = index, attempt
    else:
        entry.resource.type = "cloud_run_revision"
        labels["service_name"], labels["configuration_name"], labels["revision_name"] = output.owner, output.owner, name
        entry.labels["instanceId"] = output.path.stem
    _fill(entry, line.text)
    entry.receive_timestamp.CopyFrom(entry.timestamp)
    return entry


def _fill(entry: Any, text: str) -> None:
    """The payload of a line."""
    try:
        record = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        entry.text_payload = text
        return
    entry.severity = _SEVERITIES.get(str(record.get("severity", "")).upper(), 0)
    entry.trace = str(record.get("logging.googleapis.com/trace") or "")
    entry.span_id = str(record.get("logging.googleapis.com/spanId") or "")
    for name, value in _mapping(record.get("logging.googleapis.com/labels")).items():
        entry.labels[str(name)] = str(value)
    if (named := _time(str(record.get("time", "")))) is not None:
        entry.timestamp.FromNanoseconds(named)
    payload = {name: value for name, value in record.items() if name not in _SPECIAL}
    if set(payload) == {"message"} and isinstance(payload["message"], str):
        entry.text_payload = payload["message"]
    else:
        entry.json_payload.update(payload)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(text: str) -> int | None:
    """Nanoseconds of an RFC 3339 time."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e6) * 1000
    except ValueError:
        return None


def _key(entry: Any, sign: int) -> tuple[int, int, str]:
    offset = int(entry.insert_id.rpartition("-")[2])
    return sign * entry.timestamp.ToNanoseconds(), sign * offset, str(entry.insert_id)


def _names_in(text: str) -> frozenset[str]:
    """Revisions and executions that a filter demands: only their files are read."""
    if " OR " in text or "NOT " in text:
        text = ""
    wanted = parse(text, _DIALECT)
    selectors = (f"labels.{_LABEL}execution_name", "resource.labels.revision_name")
    return frozenset(name for selector in selectors for name in wanted.required(selector))


def _canonical(comparison: Comparison) -> Comparison:
    """Times and severities as numbers, so that they have an order."""
    value = comparison.values[0]
    if comparison.selector in ("timestamp", "receiveTimestamp"):
        nanoseconds = _time(value)
        if nanoseconds is None:
            raise invalid(f"Invalid filter: [{value}] is no time.", "filter")
        return dataclasses.replace(comparison, values=(repr(nanoseconds / 1e9),))
    if comparison.selector == "severity":
        if value.upper() not in _SEVERITIES:
            raise invalid(f"Invalid filter: [{value}] is no severity.", "filter")
        return dataclasses.replace(comparison, values=(str(_SEVERITIES[value.upper()]),))
    return comparison


# https://cloud.google.com/logging/docs/view/logging-query-language
_DIALECT = Dialect(ignore_case=True, canonical=_canonical)


def _field(entry: Any, selector: str) -> str | None:
    for prefix, found in (("labels.", entry.labels), ("resource.labels.", entry.resource.labels)):
        if selector.startswith(prefix):
            label: str | None = found.get(selector.removeprefix(prefix))
            return label
    if selector.startswith("jsonPayload."):
        value: Any = entry.json_payload
        for name in selector.removeprefix("jsonPayload.").split("."):
            value = value[name] if hasattr(value, "keys") and name in value.keys() else None  # noqa: SIM118 (a Struct)
        return None if value is None else str(value)
    return {
        "logName": str(entry.log_name),
        "insertId": str(entry.insert_id),
        "textPayload": str(entry.text_payload),
        "severity": str(entry.severity),
        "trace": str(entry.trace),
        "resource.type": str(entry.resource.type),
        "timestamp": repr(entry.timestamp.ToNanoseconds() / 1e9),
        "receiveTimestamp": repr(entry.receive_timestamp.ToNanoseconds() / 1e9),
    }[selector]

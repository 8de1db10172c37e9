"""Structured logs: one JSON object a line, in the fields that Cloud Logging reads.

Fields: https://cloud.google.com/logging/docs/structured-logging. Message content of conversations is never logged.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_SEVERITY = {"WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "CRITICAL", "DEBUG": "DEBUG"}
_REPORTED_ERROR = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"


class JsonFormatter(logging.Formatter):
    """Renders a record; `extra={"fields": {...}}` is merged into the top level."""

    def __init__(self, service: str = "", revision: str = "", release: str = "", project: str = "") -> None:
        super().__init__()
        self._project = project
        self._labels = {k: v for k, v in (("revision", revision), ("release", release)) if v}
        self._service = {"service": service or "agui-app", "version": revision or release or "dev"}

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": _SEVERITY.get(record.levelname, "INFO"),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._labels:
            entry["logging.googleapis.com/labels"] = self._labels
        entry |= trace_fields(self._project)
        entry |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            # Error Reporting groups on the stack trace in `message` of this type.
            entry["@type"] = _REPORTED_ERROR
            entry["serviceContext"] = self._service
            entry["message"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str)


def trace_fields(project: str) -> dict[str, Any]:
    """Trace fields of the current span, in Cloud Logging's form; empty outside of one, or before tracing is loaded."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "logging.googleapis.com/trace": f"projects/{project or 'local'}/traces/{context.trace_id:032x}",
        "logging.googleapis.com/spanId": f"{context.span_id:016x}",
        "logging.googleapis.com/trace_sampled": context.trace_flags.sampled,
    }


def configure_logs(level: str, service: str = "", revision: str = "", release: str = "", project: str = "") -> None:
    """Sends every logger of the process to stdout as JSON lines."""
    target = logging.StreamHandler(sys.stdout)
    target.setFormatter(JsonFormatter(service, revision, release, project))
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(level)
    for noisy in ("google_adk", "ag_ui_adk", "alembic", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("google_adk.google.adk.runners").setLevel(logging.ERROR)  # advice about caching, once a run
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # the load balancer logs requests
    logging.captureWarnings(True)


def log(logger: logging.Logger, level: int, event: str, message: str = "", **fields: Any) -> None:
    """One structured line: `event` is a stable name to filter by, `fields` land at the top level."""
    logger.log(level, message or event, extra={"fields": {"event": event, **fields}})

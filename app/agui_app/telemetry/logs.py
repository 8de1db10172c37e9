"""Structured logs: one JSON object a line, in the fields that Cloud Logging reads.

Fields: https://cloud.google.com/logging/docs/structured-logging. Errors have the shape that Error Reporting captures
and groups: https://cloud.google.com/error-reporting/docs/formatting-error-messages. What users wrote and secrets are
never logged, not even inside the text of somebody else's exception.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

_SEVERITY = {"WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "CRITICAL", "DEBUG": "DEBUG"}  # others are INFO
_REPORTED_ERROR = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"

HIDDEN = "[hidden]"
LEAST_SECRET = 6  # a shorter value stands in too many harmless words
_RESOURCE = re.compile(r"projects/[^/]+/secrets/[\w-]+(/versions/\w+)?$")  # where a secret is, not what it is
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)$", re.I)
_URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@", re.I)
# Where libraries put values into the text of their exceptions: what a user wrote, or a secret.
_VALUES = (
    (re.compile(r"(input_value=).*?(, input_type=)"), rf"\1{HIDDEN}\2"),  # pydantic
    (re.compile(r"(invalid input for query argument \$\d+: ).*"), rf"\1{HIDDEN}"),  # asyncpg
    (re.compile(r"(DETAIL:  ?).*"), rf"\1{HIDDEN}"),  # PostgreSQL
    (re.compile(r"(\[parameters: ).*"), rf"\1{HIDDEN}]"),  # SQLAlchemy
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(@)", re.I), rf"\1{HIDDEN}\2"),  # the password of a URL
    (re.compile(r"(\bBearer\s+)[\w.~+/=-]{6,}", re.I), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"((?:^|[^\w-])(?:password|passwd|api[_-]?key|client_secret)['\"]?\s*[=:]\s*['\"]?)[^\s'\"&,}]+", re.I
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\bya29\.[\w-]{8,}|\bAIza[\w-]{30,}"), HIDDEN),  # tokens and API keys
)


def discreet(text: str) -> str:
    """`text` without the values that libraries put into messages, and without credentials."""
    for pattern, replacement in _VALUES:
        text = pattern.sub(replacement, text)
    return text


def secrets_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the environment that no line may hold: by the names of their variables, and passwords of URLs."""
    found = {value for name, value in env.items() if _SECRET_NAME.search(name) and not _RESOURCE.match(value)}
    found |= {unquote(match[1]) for value in env.values() for match in _URL_PASSWORD.finditer(value)}
    return tuple(sorted((value for value in found if len(value) >= LEAST_SECRET), key=len, reverse=True))


class JsonFormatter(logging.Formatter):
    """Renders a record; `extra={"fields": {...}}` is merged into the top level. `secrets` are hidden wherever they
    stand."""

    def __init__(
        self, service: str = "", revision: str = "", release: str = "", project: str = "", secrets: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._secrets = tuple(json.dumps(secret)[1:-1] for secret in secrets)
        self._project = project
        self._labels = {k: v for k, v in (("revision", revision), ("release", release)) if v}
        self._service = {"service": service or "agui-app", "version": revision or release or "dev"}

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": _SEVERITY.get(record.levelname, "INFO"),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            "message": discreet(record.getMessage()),
        }
        if self._labels:
            entry["logging.googleapis.com/labels"] = self._labels
        entry |= trace_fields(self._project)
        entry |= getattr(record, "fields", {})
        if record.levelno >= logging.ERROR:
            self._report(entry, record)
        elif record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__  # a stack trace would be captured as an error
        line = json.dumps(entry, default=str)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line

    def _report(self, entry: dict[str, Any], record: logging.LogRecord) -> None:
        """Error Reporting groups by the stack trace in `message`, and without one by the place in the code."""
        entry["@type"] = _REPORTED_ERROR
        entry["serviceContext"] = self._service
        if record.exc_info and record.exc_info[0] is not None:
            entry["message"] = discreet("".join(traceback.format_exception(*record.exc_info)))
        else:
            place = {"filePath": record.pathname, "lineNumber": record.lineno, "functionName": record.funcName}
            entry["context"] = {"reportLocation": place}


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
    target.setFormatter(JsonFormatter(service, revision, release, project, secrets_of(os.environ)))
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(level)
    for noisy in ("google_adk", "ag_ui_adk", "alembic", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    for twice in ("runners", "workflow._node_runner"):  # what fails in a run is logged with its trace by ag-ui-adk
        logging.getLogger(f"google_adk.google.adk.{twice}").setLevel(logging.CRITICAL)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # the load balancer logs requests
    logging.captureWarnings(True)
    sys.excepthook = lambda *info: root.critical("uncaught", exc_info=info)


def log(logger: logging.Logger, level: int, event: str, message: str = "", **fields: Any) -> None:
    """One structured line: `event` is a stable name to filter by, `fields` land at the top level."""
    logger.log(level, message or event, extra={"fields": {"event": event, **fields}}, stacklevel=2)

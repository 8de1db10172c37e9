"""Structured logs: one JSON object per line, in the shape that Cloud Logging reads."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from agui_operator.core.masking import masked

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KOPF = {"k8s_ref", "k8s_skip", "settings"}


class JsonFormatter(logging.Formatter):
    """severity, time, message, logger and whatever was given as `extra`; tracebacks in `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "message": record.getMessage(),
            "logger": record.name,
        }
        reference = getattr(record, "k8s_ref", None)
        if isinstance(reference, dict):
            entry["object"] = f"{reference.get('namespace')}/{reference.get('name')}"
        entry |= {k: v for k, v in vars(record).items() if not (k in _STANDARD or k in _KOPF or k.startswith("_"))}
        if record.exc_info:
            # the message of an exception may quote what others said
            entry["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(entry, default=str)


def configure(level: str = "INFO", *, human: bool = False) -> None:
    """Sends all logs to standard error, as JSON or, for a terminal, as text."""
    stream = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    stream.setFormatter(text if human else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level.upper())
    for noisy in ("kopf.activities", "kopf.objects", "kopf._core", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

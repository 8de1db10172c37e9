"""Errors of Google's clients and replies, turned into the one CloudError that the rest of the operator knows.

Sources: https://cloud.google.com/apis/design/errors, https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agui_operator.core.errors import CloudError
from agui_operator.core.words import Words

_LONGEST_TEXT = 2000  # bytes of a reply that is not JSON
_THROTTLED = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"})
# Name and HTTP status of each gRPC code, by number: google/rpc/code.proto
GRPC_CODES: tuple[tuple[str, int], ...] = (
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
)


def from_google(error: Any, method: str, resource: str) -> CloudError:
    """A google.api_core.exceptions.GoogleAPICallError, as the gRPC clients raise it."""
    status = error.grpc_status_code
    if status is not None:
        name, code = _of_grpc(int(status.value[0]))
    else:
        code, name = int(error.code or 500), ""
    message = str(error.message)
    return CloudError(code, message, method=method, resource=resource, status=name, retry_after=_retry_info(error))


def from_status(status: Any, method: str, resource: str) -> CloudError:
    """A google.rpc.Status, as long operations of Cloud Run end with it: of a revision that does not start it says what
    its condition says."""
    name, code = _of_grpc(int(status.code))
    return CloudError(code, Words.of_workload(str(status.message)), method=method, resource=resource, status=name)


def from_reply(code: int, headers: Mapping[str, str], body: bytes, method: str, resource: str) -> CloudError:
    """An HTTP reply that is not 2xx: the newer JSON body, the older one with `errors[]`, a registry's, or none."""
    message, status = _read_body(body)
    if code == 403 and status in _THROTTLED:
        code = 429  # the older APIs say 403 for "too fast"
    return CloudError(
        code,
        message or f"HTTP status {code} without a message",
        method=method,
        resource=resource,
        status=status,
        retry_after=_seconds(headers.get("Retry-After")),
    )


def _of_grpc(number: int) -> tuple[str, int]:
    return GRPC_CODES[number] if 0 <= number < len(GRPC_CODES) else ("UNKNOWN", 500)


def _read_body(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body)
    except ValueError:
        return body[:_LONGEST_TEXT].decode("utf-8", "replace"), ""
    if not isinstance(document, dict):
        return "", ""
    error = document.get("error")
    if isinstance(error, dict):
        reasons = [e.get("reason") for e in error.get("errors") or () if isinstance(e, dict)]
        return str(error.get("message", "")), str(next(filter(None, reasons), None) or error.get("status") or "")
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return str(errors[0].get("message", "")), str(errors[0].get("code", ""))
    return str(error or ""), ""


def _retry_info(error: Any) -> float | None:
    for detail in getattr(error, "details", None) or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds + delay.nanos / 1e9)
    return None


def _seconds(raw: str | None) -> float | None:
    """Retry-After as seconds; a date is not used by Google's APIs and is ignored."""
    try:
        value = float(raw) if raw is not None else -1.0
    except ValueError:
        return None
    return value if 0 <= value < 86_400 else None

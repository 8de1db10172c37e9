"""Every fault is TRANSIENT, USER or BUG, and this table says which.

TRANSIENT: retried with back-off, no user action is required. USER: a user must change what the message names;
retried slowly, because a permission can be granted without a change of the spec. BUG: an error of the operator; retried
with back-off, counted and logged with its traceback.
"""

from __future__ import annotations

import traceback
from enum import StrEnum

from agui_operator.api.conditions import Reason
from agui_operator.core.words import UNDISCLOSED, Disclosure, Words

_FRAMES = 8


class Fault(StrEnum):
    TRANSIENT = "Transient"
    USER = "User"
    BUG = "Bug"


class UserError(Exception):
    """A fault that the author of the spec or an administrator can correct. `reason` is the reason of the condition."""

    def __init__(self, message: str, reason: Reason = Reason.INVALID_CONFIGURATION) -> None:
        super().__init__(message)
        self.reason = reason


class NotOwned(UserError):
    """A cloud object with the name we need exists and does not carry our owner's label."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.NOT_OWNED)


class Waiting(Exception):
    """Something is not there yet and will be; not an error."""


class LeaseLost(Exception):
    """Another operator holds the lease: nothing may be written any more."""


class CloudError(Exception):
    """A call to Google Cloud failed. `code` is the HTTP status (gRPC codes are mapped), `retry_after` seconds. A text
    is taken for the API's words; what it says about a workload is given as Words."""

    def __init__(
        self,
        code: int,
        message: str | Words,
        *,
        method: str = "",
        resource: str = "",
        status: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.words = message if isinstance(message, Words) else Words.of_api(message)
        super().__init__(self.words)
        self.code = code
        self.method = method
        self.resource = resource
        self.status = status
        self.retry_after = retry_after

    def told(self, disclosure: Disclosure) -> str:
        where = f"{self.method} " if self.method else ""
        what = f"({self.resource}) " if self.resource else ""
        said = self.words.told(disclosure) or "its message is not shown (AgUiPolicy spec.diagnostics)"
        return f"{where}{what}answered {self.code} {self.status}: {said}".replace("  ", " ")

    def __str__(self) -> str:
        return self.told(UNDISCLOSED)


class ClusterError(Exception):
    """The Kubernetes API server refused a request. `code` is the HTTP status, `retry_after` in seconds."""

    def __init__(self, code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"Kubernetes API answered {code}: {message}")
        self.code = code
        self.retry_after = retry_after


class ClusterUnreachable(ConnectionError):
    """The Kubernetes API server does not answer."""


class IllegalTransition(Exception):
    """An event that the table does not list for a phase: our bug, raised in one place."""


_BY_HTTP_STATUS = {
    400: Fault.USER,
    401: Fault.TRANSIENT,  # an expired token is refreshed, and the call is retried
    403: Fault.USER,
    404: Fault.TRANSIENT,  # a neighbour that is not made yet
    408: Fault.TRANSIENT,
    409: Fault.TRANSIENT,
    412: Fault.TRANSIENT,
    429: Fault.TRANSIENT,
    499: Fault.TRANSIENT,
    501: Fault.BUG,
}

# 403 is transient: an API server that starts answers it until its RBAC rules are loaded, and a right can be granted.
_BY_CLUSTER_STATUS = {
    401: Fault.TRANSIENT,  # a rotated token is read again
    403: Fault.TRANSIENT,
    404: Fault.TRANSIENT,
    408: Fault.TRANSIENT,
    409: Fault.TRANSIENT,
    410: Fault.TRANSIENT,
    413: Fault.USER,  # the object is too large
    422: Fault.USER,  # the installed CRD does not accept it
    429: Fault.TRANSIENT,
}
_CLUSTER_REFUSALS = frozenset({401, 403, 413, 422})


def classify(exc: BaseException) -> Fault:
    """Sorts an exception. Unlisted ones are bugs of the operator."""
    if isinstance(exc, UserError):
        return Fault.USER
    if isinstance(exc, (Waiting, LeaseLost, TimeoutError, ConnectionError)):
        return Fault.TRANSIENT
    if isinstance(exc, ClusterError):
        return _BY_CLUSTER_STATUS.get(exc.code, Fault.TRANSIENT if exc.code >= 500 else Fault.BUG)
    if isinstance(exc, CloudError):
        if exc.code in _BY_HTTP_STATUS:
            return _BY_HTTP_STATUS[exc.code]
        return Fault.TRANSIENT if exc.code >= 500 else Fault.BUG
    return Fault.BUG


def reason_of(exc: BaseException) -> Reason:
    """The reason of the condition that reports the fault."""
    fault = classify(exc)
    if fault is Fault.BUG:
        return Reason.INTERNAL_ERROR
    if isinstance(exc, ClusterError) and exc.code in _CLUSTER_REFUSALS:
        return Reason.CLUSTER_REFUSED
    if isinstance(exc, (ClusterError, ClusterUnreachable, LeaseLost)):
        return Reason.CLUSTER_UNAVAILABLE
    if fault is Fault.TRANSIENT:
        return Reason.CLOUD_UNAVAILABLE
    return Reason(getattr(exc, "reason", Reason.INVALID_CONFIGURATION))


def told(exc: BaseException, disclosure: Disclosure) -> str:
    """The text of a fault as it may be shown of a deployment."""
    return exc.told(disclosure) if isinstance(exc, CloudError) else str(exc)


def trace_of(exc: BaseException) -> str:
    """Type and place of an exception that was raised over the words of others, without its message."""
    frames = traceback.extract_tb(exc.__traceback__)[-_FRAMES:]
    return f"{type(exc).__name__} at " + " < ".join(f"{f.filename}:{f.lineno} {f.name}" for f in reversed(frames))


def backoff(attempts: int, fault: Fault) -> float:
    """Seconds until the next try after `attempts` failures in a row: from 1 s doubling to 60 s; USER faults 60 s."""
    if fault is Fault.USER:
        return 60.0
    return float(min(60, 2 ** min(max(attempts - 1, 0), 10)))

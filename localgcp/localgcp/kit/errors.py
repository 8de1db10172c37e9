"""One error type for every API: services raise it, the server renders it as Google does on each protocol.

gRPC carries a `google.rpc.Status` in `grpc-status-details-bin`; newer REST APIs carry the same as JSON; Cloud Storage,
Compute Engine and Cloud SQL carry the older body with `error.errors[]`.
Source: https://cloud.google.com/apis/design/errors and https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import any_pb2, json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2

_HTTP_OF_CODE: dict[str, int] = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}
_CODE_OF_HTTP: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_LEGACY_REASON: dict[int, str] = {
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "internalError",
    501: "notImplemented",
    503: "backendError",
    504: "backendError",
}


class ApiError(Exception):
    """An API call that ends in an error. `http` overrides the HTTP status of `code` where an API has its own (412);
    `reason` is the ErrorInfo reason, or the `errors[].reason` of the older APIs; `metadata` goes into ErrorInfo."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        *,
        http: int | None = None,
        location: str = "",
        field: str = "",
        domain: str = "googleapis.com",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.http = http or _HTTP_OF_CODE[code.name]
        self.location = location
        self.field = field
        self.domain = domain

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def status(self) -> Any:
        """The error as google.rpc.Status, for gRPC trailers and for operations that end in it."""
        status = status_pb2.Status(code=code_pb2.Code.Value(self.code.name), message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
            status.details.append(_packed(info))
        if self.field:
            bad = error_details_pb2.BadRequest()
            bad.field_violations.add(field=self.field, description=self.message)
            status.details.append(_packed(bad))
        return status

    def body(self) -> dict[str, Any]:
        """JSON body of the newer REST APIs (Cloud Run, Secret Manager, Monitoring)."""
        rendered = json_format.MessageToDict(self.status())
        error: dict[str, Any] = {"code": self.http, "message": self.message, "status": self.code.name}
        if details := rendered.get("details"):
            error["details"] = details
        return {"error": error}

    def legacy_body(self) -> dict[str, Any]:
        """JSON body of Cloud Storage, Compute Engine and Cloud SQL."""
        reason = self.reason or _LEGACY_REASON.get(self.http, "internalError")
        item: dict[str, Any] = {"message": self.message, "domain": "global", "reason": reason}
        if self.location:
            item |= {"locationType": "parameter", "location": self.location}
        return {"error": {"code": self.http, "message": self.message, "errors": [item]}}


def _packed(message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def from_http(status: int, message: str, reason: str = "", *, location: str = "") -> ApiError:
    """An error named by its HTTP status, as the REST-only APIs do."""
    code = _CODE_OF_HTTP.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    return ApiError(grpc.StatusCode[code], message, reason, http=status, location=location)


def from_code_name(name: str, message: str, reason: str = "") -> ApiError:
    """An error named as in google.rpc.Code ("UNAVAILABLE"). Raises KeyError for a name that does not exist."""
    return ApiError(grpc.StatusCode[name], message, reason)


def not_found(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.NOT_FOUND, message)


def already_exists(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, message)


def invalid(message: str, field: str = "") -> ApiError:
    """`field` is the path of the offending field; it becomes a BadRequest detail."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message, field=field)


def aborted(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.ABORTED, message)


def failed_precondition(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def permission_denied(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.PERMISSION_DENIED, message)


def unimplemented(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, message)

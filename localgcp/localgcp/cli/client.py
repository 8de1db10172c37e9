"""A plain JSON client for the command line: one request, one answer, errors as sentences."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from localgcp.kit.state import TOKEN_FILE


class RequestFailed(Exception):
    """An answer that is an error, or none at all (`status` 0). The message can be shown to a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def ask(endpoint: str, method: str, path: str, body: Any = None, timeout: float = 60, token: str = "") -> Any:
    """Sends one JSON request to a local cloud. Raises RequestFailed."""
    if not endpoint.startswith(("http://", "https://")):
        raise RequestFailed(0, f"'{endpoint}' is no http address of a local cloud")
    request = urllib.request.Request(  # noqa: S310  (checked above)
        endpoint.rstrip("/") + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "User-Agent": "localgcp-cli",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        raise RequestFailed(error.code, _message(error.read(), f"{method} {path}: {error}")) from error
    except urllib.error.URLError as error:
        raise RequestFailed(0, f"no local cloud answers at {endpoint}: {error.reason}") from error
    except TimeoutError as error:
        raise RequestFailed(0, f"{method} {path}: no answer from {endpoint} within {timeout:g} s") from error


def read_token(endpoint: str, file: str) -> str:
    """The token for admin calls that change something: in `file`, else where the running cloud says that it is. Raises
    RequestFailed."""
    path = Path(file or ask(endpoint, "GET", "/_localgcp/status").get("tokenFile", ""))
    if not file and path.name != TOKEN_FILE:  # an endpoint must not choose which file is sent to it
        raise RequestFailed(0, f"{endpoint} names no token file; set LOCALGCP_TOKEN_FILE")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise RequestFailed(0, f"cannot read the admin token: {error}; set LOCALGCP_TOKEN_FILE") from error


def _message(raw: bytes, otherwise: str) -> str:
    try:
        return str(json.loads(raw)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return otherwise

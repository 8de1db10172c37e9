"""Routes of the APIs that exist as REST only: Cloud Storage, Compute Engine, Cloud SQL, the image registry.

A service lists its routes; the server adds ledger, faults and error rendering to each, exactly as for RPCs.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http

RestFunc = Callable[[web.Request, Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class RestRoute:
    """`pattern` in aiohttp's style ("/storage/v1/b/{bucket}/o/{object:.+}"); `method` is the name in the ledger and
    for faults ("storage.objects.insert"): its first segment is the API. `mutating` says whether the call may write."""

    http_method: str
    pattern: str
    method: str
    func: RestFunc
    mutating: bool = False
    legacy_errors: bool = True


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object. Raises ApiError 400 `parseError`."""
    return json_object(await request.read())


def json_object(raw: bytes) -> dict[str, Any]:
    """A JSON object; nothing is an empty one. Raises ApiError 400 `parseError`."""
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise from_http(400, f"Parse Error: {error}", "parseError") from error
    if not isinstance(value, dict):
        raise from_http(400, "Parse Error: the request body must be a JSON object", "parseError")
    return value


def json_response(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(body, separators=(",", ":")).encode(),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="UTF-8",
    )

"""The few calls to the Kubernetes API that the engine makes itself.

kopf watches and keeps the finalizer; the status, the request annotations, Events and the Lease are written from here,
because a running kopf daemon can't send its patch (it is applied only when the daemon returns).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

GROUP_VERSION = "agui.dev/v1alpha1"
PLURAL = "aguideployments"
_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)


class KubeError(Exception):
    """The API server refused; `code` is the HTTP status, the message is its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Kubernetes API answered {code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to log in there."""

    server: str
    headers: Mapping[str, str]
    ssl: ssl.SSLContext | None


class Kube:
    """One pooled connection to the API server. Writes are retried on a lost connection: all are idempotent."""

    def __init__(self, connection: Connection) -> None:
        self._server = connection.server.rstrip("/")
        connector = aiohttp.TCPConnector(ssl=connection.ssl if connection.ssl is not None else True, limit=20)
        self._session = aiohttp.ClientSession(headers=dict(connection.headers), connector=connector, timeout=_TIMEOUT)
        self.writes = 0
        self.before_write: Callable[[], None] = lambda: None  # raises when nothing may be written any more

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", tries: int = 3
    ) -> dict[str, Any]:
        """The parsed answer. Raises KubeError on a refusal, ConnectionError when the server can't be reached, and what
        `before_write` raises (LeaseLost)."""
        if method != "GET":
            self.before_write()
            self.writes += 1
        return await self._send(method, path, body, content_type, tries)

    async def _send(self, method: str, path: str, body: Any, content_type: str, tries: int) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(1, tries + 1):
            try:
                async with self._session.request(
                    method, self._server + path, data=data, headers={"Content-Type": content_type}
                ) as response:
                    answer = await response.json(content_type=None)
                    if response.status < 400:
                        return dict(answer)
                    if response.status in (429, 500, 503) and attempt < tries:
                        await asyncio.sleep(0.2 * attempt)
                        continue
                    message = answer.get("message", "") if isinstance(answer, dict) else ""
                    raise KubeError(response.status, message)
            except (aiohttp.ClientConnectionError, TimeoutError, json.JSONDecodeError) as exc:
                if attempt == tries:
                    raise ConnectionError(f"the Kubernetes API server can't be reached: {exc}") from exc
                await asyncio.sleep(0.2 * attempt)
        raise AssertionError("unreachable")

    def _path(self, namespace: str, name: str, subresource: str = "") -> str:
        base = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/{PLURAL}/{name}"
        return f"{base}/{subresource}" if subresource else base

    async def get_deployment(self, namespace: str, name: str) -> dict[str, Any] | None:
        return await self._get(self._path(namespace, name))

    async def patch_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Replaces the fields of `.status`. The uid guards against an object deleted and made again. A vanished
        object is no error."""
        body = {"metadata": {"uid": uid}, "status": status}
        try:
            await self.request("PATCH", self._path(namespace, name, "status"), body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 409):
                raise

    async def remove_annotation(self, namespace: str, name: str, annotation: str) -> str | None:
        """The object's resourceVersion without it; None: the object is gone."""
        body = {"metadata": {"annotations": {annotation: None}}}
        try:
            answer = await self.request("PATCH", self._path(namespace, name), body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code != 404:
                raise
            return None
        return str(answer["metadata"]["resourceVersion"])

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        await self.request("POST", f"/api/v1/namespaces/{namespace}/events", event)

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        return await self._get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")

    async def put_lease(self, namespace: str, name: str, lease: Mapping[str, Any], *, create: bool) -> dict[str, Any]:
        """Creates the lease, or replaces it by compare-and-swap on resourceVersion (KubeError 409 if it changed)."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        method, where = ("POST", path) if create else ("PUT", f"{path}/{name}")
        return await self._send(method, where, lease, "application/json", 1)

    async def reachable(self) -> bool:
        """True if the API server answers within a few seconds."""
        try:
            await asyncio.wait_for(self.request("GET", "/version", tries=1), 3)
        except (ConnectionError, KubeError, TimeoutError):
            return False
        return True

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return await self.request("GET", path)
        except KubeError as exc:
            if exc.code == 404:
                return None
            raise

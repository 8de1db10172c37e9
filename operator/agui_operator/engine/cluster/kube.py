"""The few calls to the Kubernetes API that the engine makes itself.

kopf watches and keeps the finalizer; the status, the request annotations, Events and the Lease are written from here,
because a running kopf daemon can't send its patch (it is applied only when the daemon returns).
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from agui_operator.core.errors import ClusterError, ClusterUnreachable

GROUP_VERSION = "agui.dev/v1alpha1"
PLURAL = "aguideployments"
CONNECTIONS = 20  # of one client
_TIMEOUT = 15.0  # seconds for one request, counted from when it has a connection of the pool
_CONNECT = 5.0
_PATIENCE = 5.0  # the longest Retry-After that is waited for here; a longer one ends the request
_RETRIED = (429, 500, 502, 503, 504)


class KubeError(ClusterError):
    """The API server refused; `code` is the HTTP status, the message is its own."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to log in there."""

    server: str
    headers: Mapping[str, str]
    ssl: ssl.SSLContext | None


class Kube:
    """A pool of connections to the API server. Requests wait for a connection for as long as it takes, in the order in
    which they came; only then their time-out starts. Writes are retried on a lost connection: all are idempotent."""

    def __init__(self, connection: Connection, *, connections: int = CONNECTIONS, timeout: float = _TIMEOUT) -> None:
        self._server = connection.server.rstrip("/")
        connector = aiohttp.TCPConnector(ssl=connection.ssl if connection.ssl is not None else True, limit=connections)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(_CONNECT, timeout))
        self._session = aiohttp.ClientSession(headers=dict(connection.headers), connector=connector, timeout=limits)
        self._free = asyncio.Semaphore(connections)
        self.writes = 0
        self.before_write: Callable[[], None] = lambda: None  # raises when nothing may be written any more

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", tries: int = 3
    ) -> dict[str, Any]:
        """The parsed answer. Raises KubeError on a refusal, ClusterUnreachable (a ConnectionError) when the server does
        not answer, and what `before_write` raises (LeaseLost)."""
        before = self._count_write if method != "GET" else lambda: None
        return await self._send(method, path, body, content_type, tries, before)

    def _count_write(self) -> None:
        self.before_write()
        self.writes += 1

    async def _send(
        self, method: str, path: str, body: Any, content_type: str, tries: int, before: Callable[[], None]
    ) -> dict[str, Any]:
        """`before` is called when the request has its connection: what waited for long asks again whether it may."""
        data = None if body is None else json.dumps(body).encode()
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._free:
                    before()
                    return await self._once(method, path, data, content_type)
            except KubeError as exc:
                pause = exc.retry_after if exc.retry_after is not None else 0.2 * attempt
                if exc.code not in _RETRIED or attempt == tries or pause > _PATIENCE:
                    raise
            except (aiohttp.ClientConnectionError, TimeoutError, json.JSONDecodeError) as exc:
                pause = 0.2 * attempt
                if attempt == tries:
                    why = str(exc) or type(exc).__name__
                    raise ClusterUnreachable(f"the Kubernetes API server can't be reached: {why}") from exc
            await asyncio.sleep(pause * random.uniform(1, 1.25))

    async def _once(self, method: str, path: str, data: bytes | None, content_type: str) -> dict[str, Any]:
        async with self._session.request(
            method, self._server + path, data=data, headers={"Content-Type": content_type}
        ) as response:
            if response.status < 400:
                return dict(await response.json(content_type=None))
            raise KubeError(response.status, _message(await response.text()), _retry_after(response.headers))

    def _path(self, namespace: str, name: str, subresource: str = "") -> str:
        base = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/{PLURAL}/{name}"
        return f"{base}/{subresource}" if subresource else base

    async def get_deployment(self, namespace: str, name: str) -> dict[str, Any] | None:
        return await self._get(self._path(namespace, name))

    async def patch_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> str:
        """Replaces the fields of `.status`; the object's resourceVersion then. The uid guards against an object deleted
        and made again. A vanished object is no error: the version is empty."""
        body, path = {"metadata": {"uid": uid}, "status": status}, self._path(namespace, name, "status")
        try:
            answer = await self.request("PATCH", path, body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 409):
                raise
            return ""
        return str((answer.get("metadata") or {}).get("resourceVersion", ""))

    async def remove_annotation(self, namespace: str, name: str, annotation: str, value: str) -> str | None:
        """Removes the annotation if it has this value still; one that was set anew meanwhile stays. Returns a
        resourceVersion of the object as of which the value is gone; None: the object is gone."""
        path = f"/metadata/annotations/{annotation.replace('~', '~0').replace('/', '~1')}"
        patch = [{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]
        try:
            answer = await self.request("PATCH", self._path(namespace, name), patch, "application/json-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 422):
                raise
            found = await self._get(self._path(namespace, name)) if exc.code == 422 else None
            if found is None:
                return None
            answer = found
        return str(answer["metadata"]["resourceVersion"])

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        await self.request("POST", f"/api/v1/namespaces/{namespace}/events", event)

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        return await self._get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")

    async def put_lease(self, namespace: str, name: str, lease: Mapping[str, Any], *, create: bool) -> dict[str, Any]:
        """Creates the lease, or replaces it by compare-and-swap on resourceVersion (KubeError 409 if it changed)."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        method, where = ("POST", path) if create else ("PUT", f"{path}/{name}")
        return await self._send(method, where, lease, "application/json", 1, lambda: None)

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


def clients(connection: Connection, lease_seconds: float) -> tuple[Kube, Kube]:
    """The client for the objects, and one with connections of its own for the lease and the health checks: neither may
    wait behind the other's writes."""
    return Kube(connection), Kube(connection, connections=2, timeout=max(0.3, lease_seconds / 3))


def _message(text: str) -> str:
    """The message of a Status; of anything else (a proxy's page) its beginning."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text[:200]
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the API server never sends the form with a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None

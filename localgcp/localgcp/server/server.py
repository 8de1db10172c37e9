"""Puts the local cloud together: sockets, parts, services, fronts. `localgcp serve` runs one until it gets a signal."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgcp.kit.cloud import PARTS, Cloud
from localgcp.kit.errors import unimplemented
from localgcp.server.admin import Admin
from localgcp.server.grpc import GrpcFront
from localgcp.server.methods import HttpRule, Rpc, http_rules, rpcs
from localgcp.server.port import Port
from localgcp.server.rest import RestFront
from localgcp.services import PROTO_SERVICES, REST_SERVICES

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.rest import RestRoute
    from localgcp.kit.settings import Settings

Bound = Callable[[Any, Any], Awaitable[Any]]
_BACKLOG = 512


class Server:
    """`services` and `routes` are import paths (see services/__init__.py); `parts` replaces parts of the cloud."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        services: Iterable[str] = PROTO_SERVICES,
        routes: Iterable[str] = REST_SERVICES,
        **parts: Any,
    ) -> None:
        self.cloud = Cloud(settings, **parts)
        self._services = [_load(path)(self.cloud) for path in services]
        methods, rules = _bind(self._services)
        rest_only: list[RestRoute] = []
        for module in routes:
            rest_only += importlib.import_module(module).routes(self.cloud)
        admin = Admin(self.cloud, self.reset)
        self._grpc = GrpcFront(self.cloud, methods)
        self._rest = RestFront(self.cloud, rules, rest_only, admin.application())
        self._listener = listener
        self._port: Port | None = None
        self._socket_dir = Path(tempfile.mkdtemp(prefix="localgcp-"))

    async def open(self) -> None:
        """Everything is served when this returns."""
        await self.cloud.start()
        for service in self._services:
            await _hook(service, "open")
        self.cloud.operations.recover()
        grpc_socket = self._socket_dir / "grpc.sock"
        await self._grpc.open(f"unix:{grpc_socket}")
        http = await self._rest.open()
        self._port = Port(self._listener, http, str(grpc_socket))
        self._port.open()

    async def close(self) -> None:
        if self._port is not None:
            await self._port.close()
        await self._grpc.close()
        await self._rest.close()
        for service in self._services:
            await _hook(service, "close")
        await self.cloud.stop()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    async def reset(self) -> None:
        """Empties the cloud while it runs: services, parts, then every record. The ledger goes on."""
        await self.cloud.operations.stop()
        for service in self._services:
            await _hook(service, "reset")
        for name in PARTS:
            await _hook(getattr(self.cloud, name), "reset")
        self.cloud.faults.clear()
        self.cloud.store.clear()


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes a free one. Raises OSError that names the port."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from error
    return bound


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket. Raises OSError that names the port."""
    listener = reserve(host, port)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:  # somebody else listens there
        listener.close()
        raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from error
    return listener


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _bind(services: Iterable[Any]) -> tuple[dict[str, tuple[Rpc, Bound]], list[tuple[HttpRule, Bound]]]:
    """Methods by gRPC path, and HTTP rules. A method that a service lacks answers UNIMPLEMENTED."""
    methods: dict[str, tuple[Rpc, Bound]] = {}
    rules: list[tuple[HttpRule, Bound]] = []
    for service in services:
        known = rpcs(service.API)
        for rpc in known.values():
            methods[rpc.path] = (rpc, getattr(service, rpc.method, None) or _absent(rpc))
        rules += [(rule, methods[rule.rpc.path][1]) for rule in http_rules(service.API, known)]
    return methods, rules


def _absent(rpc: Rpc) -> Bound:
    async def absent(request: Any, call: Call) -> Any:
        raise unimplemented(f"localgcp does not have {rpc.api}.{rpc.method}")

    return absent


async def _hook(part: Any, name: str) -> None:
    if (method := getattr(part, name, None)) is not None:
        outcome = method()
        if inspect.isawaitable(outcome):
            await outcome


@contextlib.asynccontextmanager
async def serving(settings: Settings, listener: socket.socket, **options: Any) -> Any:
    """A running server for the length of a block."""
    server = Server(settings, listener, **options)
    try:
        await server.open()
        yield server
    finally:
        await server.close()

"""Serves the local cloud: sockets, services and protocols. `localgcp serve` runs one until it gets a signal."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgcp.kit.cloud import Cloud
from localgcp.kit.errors import unimplemented
from localgcp.kit.paging import check_proto_token
from localgcp.kit.service import ProtoApi, Service, Slot, call_hook
from localgcp.server.admin import Admin
from localgcp.server.grpc import GrpcServer
from localgcp.server.methods import HttpRule, Rpc, http_rules, rpcs
from localgcp.server.port import Port
from localgcp.server.rest import RestServer
from localgcp.services import SERVICES

if TYPE_CHECKING:
    import socket

    from localgcp.kit.call import Call
    from localgcp.kit.rest import RestRoute
    from localgcp.kit.settings import Settings

Bound = Callable[[Any, Any], Awaitable[Any]]


class Server:
    """Serves `services` on one port; `parts` replaces parts of the cloud (see kit.cloud.Cloud)."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        services: Iterable[Service] = SERVICES,
        parts: Mapping[Slot[Any], object] | None = None,
    ) -> None:
        self.cloud = Cloud(settings, services, parts)
        declared = [api for service in self.cloud.services for api in service.protos]
        self._apis = [(api, api.build(self.cloud)) for api in declared]
        methods, rules = _bind(self._apis)
        rest_only: list[RestRoute] = []
        for service in self.cloud.services:
            rest_only += service.rest(self.cloud) if service.rest is not None else []
        admin = Admin(self.cloud, self.reset)
        self._grpc = GrpcServer(self.cloud, methods, settings.guard)
        self._rest = RestServer(self.cloud, rules, rest_only, admin.application())
        self._listener = listener
        self._port: Port | None = None
        self._socket_dir = Path(tempfile.mkdtemp(prefix="localgcp-"))

    async def open(self) -> None:
        """Everything is served when this returns."""
        await self.cloud.start()
        for _, api in self._apis:
            await call_hook(api, "open")
        self.cloud.operations.recover()
        grpc_socket = self._socket_dir / "grpc.sock"
        await self._grpc.open(grpc_socket)
        self._port = Port(self._listener, await self._rest.open(), str(grpc_socket))
        self._port.open()

    async def close(self) -> None:
        if self._port is not None:
            await self._port.close()
        await self._grpc.close()
        await self._rest.close()
        for _, api in self._apis:
            await call_hook(api, "close")
        await self.cloud.stop()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    async def reset(self) -> None:
        """Empties the cloud while it runs: services, parts, then every record. The ledger is kept."""
        await self.cloud.operations.stop()
        for _, api in self._apis:
            await call_hook(api, "reset")
        await self.cloud.reset()
        self.cloud.faults.clear()
        self.cloud.store.clear()


def _bind(apis: Iterable[tuple[ProtoApi, Any]]) -> tuple[dict[str, tuple[Rpc, Bound]], list[tuple[HttpRule, Bound]]]:
    """Methods by gRPC path, and HTTP rules. A method that an API object lacks answers UNIMPLEMENTED."""
    methods: dict[str, tuple[Rpc, Bound]] = {}
    rules: list[tuple[HttpRule, Bound]] = []
    for api, owner in apis:
        known = rpcs(api)
        for rpc in known.values():
            methods[rpc.path] = (rpc, _checked(rpc, getattr(owner, rpc.method, None) or _absent(rpc)))
        rules += [(rule, methods[rule.rpc.path][1]) for rule in http_rules(api, known)]
    return methods, rules


def _checked(rpc: Rpc, method: Bound) -> Bound:
    """Refuses foreign page tokens before a list method runs, whatever it does with them."""
    if "page_token" not in rpc.request.DESCRIPTOR.fields_by_name:
        return method

    async def checked(request: Any, call: Call) -> Any:
        check_proto_token(request)
        return await method(request, call)

    return checked


def _absent(rpc: Rpc) -> Bound:
    async def absent(request: Any, call: Call) -> Any:
        raise unimplemented(f"localgcp does not have {rpc.api}.{rpc.method}")

    return absent


@contextlib.asynccontextmanager
async def serving(settings: Settings, listener: socket.socket, **options: Any) -> Any:
    """A running server for the length of a block."""
    server = Server(settings, listener, **options)
    try:
        await server.open()
        yield server
    finally:
        await server.close()

"""The gRPC server: generic handlers, built from the method table, that call the services' methods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from localgcp.kit.call import Call, caller_of
from localgcp.kit.errors import ApiError
from localgcp.server.middleware import as_call

if TYPE_CHECKING:
    from pathlib import Path

    from localgcp.kit.cloud import Cloud
    from localgcp.kit.guard import Guard
    from localgcp.server.methods import Rpc

Bound = Callable[[Any, Call], Awaitable[Any]]
"""A service's method: request (pb message) and call in, response (pb message) out."""

_OPTIONS = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.http2.max_ping_strikes", 0),  # accept the keep-alive pings of any client
    ("grpc.keepalive_permit_without_calls", 1),
)


class GrpcServer:
    """Serves `methods` (path -> method) on a unix socket, which the one port pipes HTTP/2 connections to."""

    def __init__(self, cloud: Cloud, methods: dict[str, tuple[Rpc, Bound]], guard: Guard) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (_Generic({path: _rpc_method(cloud, *m) for path, m in methods.items()}, guard),)
        )

    async def open(self, path: Path) -> None:
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()

    async def close(self, grace: float = 0.5) -> None:
        await self._server.stop(grace)


class _Generic(grpc.GenericRpcHandler):  # type: ignore[misc]
    """No browser opens HTTP/2 without TLS; what carries the headers of a web page is refused all the same."""

    def __init__(self, methods: dict[str, Any], guard: Guard) -> None:
        self._methods, self._guard = methods, guard

    def service(self, details: Any) -> Any:
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        if foreign := self._guard.foreign_page(metadata):
            return _refusing(foreign)
        return self._methods.get(details.method)


def _refusing(sentence: str) -> Any:
    async def refuse(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, sentence)

    return grpc.unary_unary_rpc_method_handler(refuse)


def _rpc_method(cloud: Cloud, rpc: Rpc, method: Bound) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        call = Call(rpc.api, rpc.method, metadata, cloud.ledger, caller_of(metadata))
        try:
            return await as_call(cloud, call, rpc.resource(request), rpc.write, lambda: method(request, call))
        except ApiError as error:
            details = error.status().SerializeToString()
            await context.abort(error.code, error.message, (("grpc-status-details-bin", details),))
        except asyncio.CancelledError:
            raise
        return None

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=rpc.request.FromString, response_serializer=_serialized
    )


def _serialized(message: Any) -> bytes:
    raw: bytes = message.SerializeToString()
    return raw

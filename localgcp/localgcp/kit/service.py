"""The contract of a service: one Google API as this cloud serves it.

Each package in `localgcp.services` exports one `SERVICE`. Parts are objects that live as long as the cloud. A part is
found by its slot, which says its type: a slot in `kit.interfaces` is what services know of each other; a slot inside
a service's package is known to that service only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud
    from localgcp.kit.rest import RestRoute

T = TypeVar("T")

HttpTemplate = tuple[str, str, str | None, str]
"""A google.api.http rule: verb, path template, body (a field's name, "*" or None), method."""


class Slot(Generic[T]):
    """The typed name of a part. Two slots are never equal, whatever they are called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Slot({self.name!r})"


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """An object that a service puts into the cloud. `build` may ask the cloud for other parts. The object may have
    `open()` (before the first call), `close()` (in reverse order) and `reset()`; each may be a coroutine function."""

    slot: Slot[T]
    build: Callable[[Cloud], T]


@dataclass(frozen=True, slots=True)
class ProtoApi:
    """A gRPC service. `build` makes an object with one coroutine function per method (request, call) -> response.

    The methods' names and messages come from the transports in `package`, a module of Google's client package, as do
    the HTTP rules. `requests` (method name -> request class) and `rules` say what no client package carries."""

    name: str
    build: Callable[[Cloud], object]
    package: str = ""
    requests: Mapping[str, Any] | None = None
    rules: tuple[HttpTemplate, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """`hosts`: the Google hosts that this service stands for. `rest` lists the routes of an API that is REST only."""

    name: str
    hosts: tuple[str, ...] = ()
    protos: tuple[ProtoApi, ...] = ()
    rest: Callable[[Cloud], list[RestRoute]] | None = None
    parts: tuple[Part[Any], ...] = ()


async def call_hook(owner: object, name: str) -> None:
    """Calls `open`, `close` or `reset` of a part or an API object that has it."""
    hook = getattr(owner, name, None)
    if hook is not None and inspect.isawaitable(outcome := hook()):
        await outcome

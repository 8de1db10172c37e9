"""Which methods exist and how they look on the wire: read from Google's own client packages.

No .proto files with service definitions come with those packages, but their transports know every method's path and
message classes, and their REST transports the HTTP rule of each. Both are read here without opening a connection. A
service's `ProtoApi` says what the packages do not carry.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.iam.v1 import iam_policy_pb2

from localgcp.kit.service import HttpTemplate, ProtoApi

_IAM_REQUESTS = {
    "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
    "SetIamPolicy": iam_policy_pb2.SetIamPolicyRequest,
    "TestIamPermissions": iam_policy_pb2.TestIamPermissionsRequest,
}

_READS = ("Get", "List", "Wait", "Test", "Check", "Query", "Access", "Fetch")
_NO_METHODS = {"grpc_channel", "kind", "operations_client"}
_MIXINS = {"GetOperation", "ListOperations", "WaitOperation", "DeleteOperation", "CancelOperation"}


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method: `request` is its pb class, `resource` names what a request is about (for ledger and faults)."""

    api: str
    method: str
    request: Any
    resource: Callable[[Any], str]

    @property
    def path(self) -> str:
        return f"/{self.api}/{self.method}"

    @property
    def write(self) -> bool:
        return not self.method.startswith(_READS)


@dataclass(frozen=True, slots=True)
class HttpRule:
    """A google.api.http rule: `pattern` has one group per path variable, `variables` their field paths in order."""

    verb: str
    template: str
    pattern: re.Pattern[str]
    variables: tuple[str, ...]
    body: str | None
    rpc: Rpc


def rpcs(api: ProtoApi) -> dict[str, Rpc]:
    """All methods of an API by name."""
    if api.requests is not None:
        return {name: _rpc(api.name, name, request) for name, request in api.requests.items()}
    return {rpc.method: rpc for rpc in _recorded(api)}


def http_rules(api: ProtoApi, known: dict[str, Rpc]) -> Iterator[HttpRule]:
    """HTTP rules of an API's methods, most specific template first."""
    for verb, template, body, method in (*api.rules, *_transport_rules(api)):
        if method in known:
            pattern, variables = _compiled(template)
            yield HttpRule(verb, template, pattern, variables, body, known[method])


def _recorded(api: ProtoApi) -> Iterator[Rpc]:
    module = importlib.import_module(api.package + ".transports.grpc_asyncio")
    (transport_class,) = (
        c
        for n, c in inspect.getmembers(module, inspect.isclass)
        if n.endswith("AsyncIOTransport") and c.__module__ == module.__name__
    )
    channel = _Recorder()
    transport: Any = object.__new__(transport_class)
    transport._stubs, transport._logged_channel = {}, channel
    for name, member in vars(transport_class).items():
        if isinstance(member, property) and not name.startswith("_") and name not in _NO_METHODS:
            getattr(transport, name)
    for path, serializer in channel.seen:
        _, service, method = path.split("/")
        message = getattr(serializer, "__self__", None)
        if service == api.name and (message is not None or method in _IAM_REQUESTS):
            yield _rpc(api.name, method, message.pb() if message is not None else _IAM_REQUESTS[method])


class _Recorder:
    """Stands in for a channel and notes what a transport asks of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> None:
        self.seen.append((path, request_serializer))

    stream_stream = unary_stream = stream_unary = unary_unary


def _transport_rules(api: ProtoApi) -> Iterator[HttpTemplate]:
    if not api.package:
        return
    try:
        module = importlib.import_module(api.package + ".transports.rest_base")
    except ModuleNotFoundError:  # gRPC-only packages
        return
    for name, transport in inspect.getmembers(module, inspect.isclass):
        if not name.startswith("_Base"):
            continue
        for rule_name, rule in inspect.getmembers(transport, inspect.isclass):
            method = rule_name.removeprefix("_Base")
            if hasattr(rule, "_get_http_options") and method not in _MIXINS:
                for option in rule._get_http_options():
                    yield option["method"].upper(), option["uri"], option.get("body"), method


def _compiled(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    variables: list[str] = []
    pattern = ""
    for part in re.split(r"(\{[^}]+\})", template):
        if part.startswith("{"):
            variable, _, glob = part[1:-1].partition("=")
            variables.append(variable)
            pattern += f"({_glob(glob or '*')})"
        else:
            pattern += re.escape(part)
    return re.compile(pattern + r"\Z"), tuple(variables)


def _glob(glob: str) -> str:
    parts = (".+" if p == "**" else "[^/:]+" if p == "*" else re.escape(p) for p in re.split(r"(\*\*|\*)", glob))
    return "".join(parts)


def _rpc(api: str, method: str, request: Any) -> Rpc:
    return Rpc(api, method, request, _resource_reader(method, request))


def _resource_reader(method: str, request: Any) -> Callable[[Any], str]:
    fields = request.DESCRIPTOR.fields_by_name
    ids = [name for name in fields if name.endswith("_id") and name != "request_id"]
    if "parent" in fields and ids:
        collection = ids[0].removesuffix("_id") + "s"
        return lambda r: f"{r.parent}/{collection}/{getattr(r, ids[0])}"
    for name in ("name", "parent", "resource"):
        if name in fields:
            return lambda r: str(getattr(r, name))
    for name, field in fields.items():
        if field.message_type is not None and "name" in field.message_type.fields_by_name:
            return lambda r: str(getattr(r, name).name)
    return lambda r: ""

"""All clients of Google Cloud in one object, built when the operator starts and never at import.

gRPC where Google has async clients for it (Cloud Run, Monitoring, Secret Manager), one REST client for the rest.
Google's packages are imported inside `connect`: they cost most of the start time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from agui_operator.gcp.transport.calls import ApiCall, Caller, OnCall
from agui_operator.gcp.transport.endpoints import CloudSettings, Endpoints
from agui_operator.gcp.transport.quota import Quota
from agui_operator.gcp.transport.rest import Rest, RestRequest, Token

__all__ = ["Cloud", "CloudSettings", "connect", "path_part"]

T = TypeVar("T")
_PLACE = re.compile(r"projects/([^/]+)(?:/locations/([^/]+))?")


class Cloud:
    """Google Cloud for the kinds. Every request is sent through `rpc` or `rest`."""

    def __init__(
        self, settings: CloudSettings, endpoints: Endpoints, caller: Caller, clients: Mapping[str, Any], rest: Rest
    ) -> None:
        self.settings, self.endpoints = settings, endpoints
        self._caller, self._clients, self._rest = caller, clients, rest
        self._shared: dict[type, Any] = {}

    def shared(self, kind: type[T]) -> T:
        """The one object of a class that all users of these clients share, such as a limit. Made when it is first asked
        for."""
        if kind not in self._shared:
            self._shared[kind] = kind()
        made: T = self._shared[kind]
        return made

    async def rpc(
        self, method: str, request: Any, resource: str, *, write: bool = False, timeout: float | None = None
    ) -> Any:
        """Calls `<Service>.<Method>` with a request message. `resource` is a full name (`projects/...`). Long-running
        methods give the google.longrunning.Operation. Raises CloudError, LeaseLost."""
        service, _, name = method.partition(".")
        function = getattr(self._clients[service], _snake(name))
        project, location = _place(resource)

        async def send(seconds: float) -> Any:
            reply = await function(request, retry=None, timeout=seconds)
            return reply.operation if type(reply).__name__ == "AsyncOperation" else reply

        call = ApiCall(method, resource, project, location or service, timeout or self.settings.timeout, write)
        return await self._caller.call(call, send)

    async def rest(self, request: RestRequest) -> Any:
        """Sends a REST request. Raises CloudError, LeaseLost."""
        api = request.method.partition(".")[0]
        url = (request.base or self.endpoints.base(api)) + request.path

        async def send(seconds: float) -> Any:
            return await self._rest.send(request, url, seconds)

        resource = request.resource or request.path.partition("?")[0]
        timeout = request.timeout or self.settings.timeout
        call = ApiCall(request.method, resource, request.project, api, timeout, request.write)
        return await self._caller.call(call, send)

    async def close(self) -> None:
        """Ends all connections."""
        await self._rest.close()
        for client in {id(c): c for c in self._clients.values()}.values():
            await client.transport.close()


async def connect(
    settings: CloudSettings,
    *,
    on_call: OnCall | None = None,
    before_write: Callable[[], None] | None = None,
    credentials: Any = None,
) -> Cloud:
    """Builds every client in the running event loop; nothing is sent yet. Raises UserError without credentials."""
    endpoints = Endpoints(settings.endpoint)
    credentials = await endpoints.credentials(credentials)
    caller = Caller(Quota(settings.limits, settings.storage_limits), on_call, before_write)
    rest = Rest(Token(credentials), settings.user_agent, use_proxy=settings.endpoint is None)
    return Cloud(settings, endpoints, caller, _grpc_clients(endpoints, credentials, settings.user_agent), rest)


def _grpc_clients(endpoints: Endpoints, credentials: Any, user_agent: str) -> dict[str, Any]:
    """Google's async clients by service name. Each has a channel of its own; gRPC shares the connections below them."""
    from google.api_core.gapic_v1.client_info import ClientInfo
    from google.cloud import monitoring_v3, run_v2, secretmanager_v1

    info = ClientInfo(user_agent=user_agent)
    wanted = {
        "Services": ("run", run_v2.ServicesAsyncClient),
        "Revisions": ("run", run_v2.RevisionsAsyncClient),
        "Jobs": ("run", run_v2.JobsAsyncClient),
        "Executions": ("run", run_v2.ExecutionsAsyncClient),
        "Tasks": ("run", run_v2.TasksAsyncClient),
        "AlertPolicyService": ("monitoring", monitoring_v3.AlertPolicyServiceAsyncClient),
        "NotificationChannelService": ("monitoring", monitoring_v3.NotificationChannelServiceAsyncClient),
        "MetricService": ("monitoring", monitoring_v3.MetricServiceAsyncClient),
        "SecretManagerService": ("secretmanager", secretmanager_v1.SecretManagerServiceAsyncClient),
    }
    clients: dict[str, Any] = {}
    for name, (api, client) in wanted.items():
        transport = client.get_transport_class("grpc_asyncio")
        channel = endpoints.channel(api, credentials)
        clients[name] = client(transport=transport(channel=channel, client_info=info), client_info=info)
    clients["Operations"] = clients["Services"]
    return clients


def path_part(text: str) -> str:
    """`text` as one segment of a URL path: object names have slashes."""
    from urllib.parse import quote

    return quote(text, safe="")


def _place(resource: str) -> tuple[str, str]:
    found = _PLACE.match(resource)
    return (found[1], found[2] or "") if found else ("", "")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

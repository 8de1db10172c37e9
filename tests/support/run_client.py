"""Google's Cloud Run clients on one gRPC channel, and what the tests of services repeat."""

from __future__ import annotations

from typing import Any

import aiohttp
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.run_v2.services.revisions.transports import RevisionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.services.transports import ServicesGrpcAsyncIOTransport
from google.longrunning import operations_pb2

from agui_dev.testbed.local_cloud import LocalCloud

WEB = "us-central1-docker.pkg.dev/demo/agui/web"
STATES = run_v2.Condition.State
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION


class Run:
    """Google's clients on one channel, and shorthands for what these tests repeat."""

    def __init__(self, cloud: LocalCloud, channel: Any) -> None:
        self.cloud = cloud
        self.services = run_v2.ServicesAsyncClient(transport=ServicesGrpcAsyncIOTransport(channel=channel))
        self.revisions = run_v2.RevisionsAsyncClient(transport=RevisionsGrpcAsyncIOTransport(channel=channel))
        self.name = f"{cloud.parent}/services/web"

    async def create(self, tag: str = "v1", *, service_id: str = "web", **fields: Any) -> run_v2.Service:
        operation = await self.services.create_service(
            parent=self.cloud.parent, service_id=service_id, service=service(tag, **fields)
        )
        return await self.ended(operation)

    async def update(self, wanted: dict[str, Any], mask: str = "", **fields: Any) -> run_v2.Service:
        request = run_v2.UpdateServiceRequest(service={"name": self.name, **wanted}, **fields)
        if mask:
            request.update_mask = {"paths": mask.split(",")}
        return await self.ended(await self.services.update_service(request))

    async def ended(self, operation: Any) -> Any:
        """Waits for the end with WaitOperation, so that no test polls; raises what the operation ended in."""
        raw = await self.services.wait_operation(operations_pb2.WaitOperationRequest(name=operation.operation.name))
        done = operations_pb2.Operation.FromString(raw)
        assert done.done
        if done.HasField("error"):
            raise exceptions.from_grpc_status(done.error.code, done.error.message)
        return run_v2.Service.deserialize(done.response.value)

    async def get(self) -> run_v2.Service:
        return await self.services.get_service(name=self.name)


def service(tag: str = "v1", revision: str = "", **fields: Any) -> dict[str, Any]:
    return {"template": template(tag, revision), **fields}


def template(tag: str = "v1", revision: str = "", **fields: Any) -> dict[str, Any]:
    return {"revision": revision, "containers": [{"image": f"{WEB}:{tag}"}], **fields}


def share(revision: str, percent: int, tag: str = "") -> dict[str, Any]:
    return {"type_": REVISION, "revision": revision, "percent": percent, "tag": tag}


async def served(cloud: LocalCloud, host: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{cloud.edge}/whoami", headers={"Host": host}) as response,
    ):
        assert response.status == 200, await response.text()
        body: dict[str, Any] = await response.json()
        return body


def host_of(uri: str) -> str:
    return uri.removeprefix("http://")

"""One scenario, three ways in: Google's gRPC client, Google's REST transport and raw JSON leave the same state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport, ServicesRestTransport
from google.protobuf import json_format

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud

pytestmark = [
    pytest.mark.contract,
    # google-api-core's REST operations transport is imported with a warning of its own on first use
    pytest.mark.filterwarnings("ignore::FutureWarning:google"),
]

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES), "--lro-seconds", "0")
WEB = "us-central1-docker.pkg.dev/demo/agui/web"
TRAFFIC_TYPE = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"

FIRST = {"template": {"revision": "web-a", "containers": [{"image": f"{WEB}:v1"}]}, "labels": {"team": "a"}}
SECOND = {
    "template": {"revision": "web-b", "containers": [{"image": f"{WEB}:v2"}], "timeout": "60s"},
    "traffic": [
        {"type": TRAFFIC_TYPE, "revision": "web-a", "percent": 100},
        {"type": TRAFFIC_TYPE, "revision": "web-b", "percent": 0, "tag": "next"},
    ],
}


class Way(Protocol):
    def create(self, body: dict[str, Any]) -> None: ...
    def update(self, body: dict[str, Any], mask: str) -> None: ...
    def read(self) -> dict[str, Any]: ...


class Gapic:
    """Either of Google's synchronous clients; only the transport differs."""

    def __init__(self, cloud: LocalCloud, transport: Any) -> None:
        self.client = run_v2.ServicesClient(transport=transport)
        self.parent, self.name = cloud.parent, f"{cloud.parent}/services/web"

    def _service(self, body: dict[str, Any]) -> run_v2.Service:
        return run_v2.Service.wrap(json_format.ParseDict(body, run_v2.Service.pb()()))

    def create(self, body: dict[str, Any]) -> None:
        operation = self.client.create_service(parent=self.parent, service=self._service(body), service_id="web")
        operation.result(timeout=60)

    def update(self, body: dict[str, Any], mask: str) -> None:
        request = run_v2.UpdateServiceRequest(
            service=self._service({"name": self.name, **body}), update_mask={"paths": mask.split(",")}
        )
        self.client.update_service(request).result(timeout=60)

    def read(self) -> dict[str, Any]:
        found = self.client.get_service(name=self.name)
        seen: dict[str, Any] = json_format.MessageToDict(run_v2.Service.pb(found))
        return seen


class RawJson:
    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.path = cloud, f"/v2/{cloud.parent}/services"

    def _wait(self, operation: dict[str, Any]) -> None:
        done = self.cloud.call(f"/v2/{operation['name']}:wait", "POST", {"timeout": "20s"})
        assert done["done"], done
        assert "error" not in done, done

    def create(self, body: dict[str, Any]) -> None:
        self._wait(self.cloud.call(f"{self.path}?serviceId=web", "POST", body))

    def update(self, body: dict[str, Any], mask: str) -> None:
        self._wait(self.cloud.call(f"{self.path}/web?updateMask={mask}", "PATCH", body))

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.call(f"{self.path}/web")
        return found


def grpc_way(cloud: LocalCloud) -> Iterator[Way]:
    with grpc.insecure_channel(cloud.address) as channel:
        yield Gapic(cloud, ServicesGrpcTransport(channel=channel))


def rest_way(cloud: LocalCloud) -> Iterator[Way]:
    transport = ServicesRestTransport(host=cloud.endpoint, url_scheme="http", credentials=AnonymousCredentials())
    try:
        yield Gapic(cloud, transport)
    finally:
        transport.close()


def json_way(cloud: LocalCloud) -> Iterator[Way]:
    yield RawJson(cloud)


def steady(service: dict[str, Any]) -> dict[str, Any]:
    """A service without what differs from run to run: times, uid and etag."""
    text = re.sub(
        r'"(lastTransitionTime|createTime|updateTime|uid|etag)": "(\\.|[^"\\])*",? ?', "", json.dumps(service)
    )
    return json.loads(text.replace(", }", "}"))


def played(way: Way) -> dict[str, Any]:
    way.create(FIRST)
    way.update(SECOND, "template,traffic")
    return steady(way.read())


def test_three_ways_leave_the_same_state(local_cloud: LocalCloud) -> None:
    ways: list[Callable[[LocalCloud], Iterator[Way]]] = [grpc_way, rest_way, json_way]
    states = []
    for opened in ways:
        local_cloud.reset()
        generator = opened(local_cloud)
        states.append(played(next(generator)))
        generator.close()
    assert states[0]["observedGeneration"] == "2"
    assert states[0]["trafficStatuses"][1].get("percent") is None, "proto3 JSON leaves a zero out"
    assert states[0] == states[1] == states[2]

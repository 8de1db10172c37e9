"""Every list method of every service: pages, page sizes, and page tokens that it did not issue.

The methods come from the registry of services: the tests of tokens and sizes include a new service by themselves, and
`test_every_list_method_is_walked` fails until its lists are filled here.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import googleapiclient
import pytest

from localgcp.server.methods import http_rules, rpcs
from localgcp.server.server import Server
from localgcp.services import SERVICES
from localgcp.services.compute.kinds import KINDS
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
LOCATION = "projects/demo/locations/us-central1"
DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
COUNT = 6
BAD_TOKENS = (
    "2",
    "abc",
    "%",
    base64.urlsafe_b64encode(b"2").decode(),
    base64.urlsafe_b64encode(b'["0123456789abcdef",["a"]]').decode(),
    base64.urlsafe_b64encode(b"o/object-2").decode(),
)
# Google pages neither databases nor users of an instance; a registry's tags have pages of their own (n, last).
UNPAGED = {"sqladmin.databases.list", "sqladmin.users.list", "registry.tags.list"}


@dataclass(frozen=True)
class Method:
    """A list method. `path` has one `{...}` per variable; `size` is the name of its page size."""

    label: str
    path: str
    size: str

    def url(self, endpoint: str, values: dict[str, str], query: dict[str, str]) -> str:
        path = re.sub(r"\{(\w+)[^}]*\}", lambda variable: values.get(variable[1], values[""]), self.path)
        return f"{endpoint}{urllib.parse.quote(path)}?{urllib.parse.urlencode(query)}"


def list_methods() -> list[Method]:
    found = []
    for service in SERVICES:
        for api in service.protos:
            for rule in http_rules(api, rpcs(api)):
                pages = "page_token" in rule.rpc.request.DESCRIPTOR.fields_by_name
                if rule.verb == "GET" and pages and rule.rpc.method.startswith("List"):
                    found.append(Method(f"{api.name}.{rule.rpc.method}", rule.template, "pageSize"))
    return found


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    without_edge = tuple(service for service in SERVICES if service.name != "edge")
    with localgcp_thread(tmp_path_factory.mktemp("lists"), without_edge) as server:
        yield Cloud(server)


class Cloud:
    def __init__(self, server: Server) -> None:
        self.server, self.endpoint = server, server.cloud.settings.endpoint
        rest = [
            Method(route.method, route.pattern, "maxResults")
            for service in server.cloud.services
            if service.rest is not None
            for route in service.rest(server.cloud)
            if route.http_method == "GET" and route.method.endswith(("List", ".list"))
        ]
        self.methods = {(method.label, method.path): method for method in (*list_methods(), *rest)}
        self.paged = [m for m in self.methods.values() if m.label not in UNPAGED and self.status(m, {}) != 501]
        self._fill()

    def ask(self, url: str, body: Any = None, verb: str = "") -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(url if "://" in url else self.endpoint + url, data, method=verb or None)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read() or b"{}")

    def status(self, method: Method, query: dict[str, str]) -> int:
        """The HTTP status of a list; 0 when the body says something else than the status."""
        walk = walk_of(method) or Walk()
        try:
            self.ask(method.url(self.endpoint, {"": LOCATION, **walk.values}, {**walk.query, **query}))
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())["error"]
            expected = {400: "INVALID_ARGUMENT"}.get(error.code)
            return error.code if body.get("status", expected) == expected or error.code != 400 else 0
        return 200

    def refusal(self, url: str) -> tuple[int, Any]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.ask(url)
        return caught.value.code, json.loads(caught.value.read())["error"]

    def page(self, method: Method, walk: Walk, size: int, token: str = "") -> tuple[list[str], str]:
        query = {**walk.query, method.size: str(size), **({"pageToken": token} if token else {})}
        body = self.ask(method.url(self.endpoint, {"": LOCATION, **walk.values}, query))
        items = next((value for value in body.values() if isinstance(value, list)), [])
        return [json.dumps(item, sort_keys=True) for item in items], body.get("nextPageToken", "")

    def walk(self, method: Method, walk: Walk, size: int) -> list[str]:
        found: list[str] = []
        token, turns = "", 0
        while token or not turns:
            items, token = self.page(method, walk, size, token)
            assert 0 < len(items) <= size
            found, turns = found + items, turns + 1
            assert turns <= 100
        return found

    def _fill(self) -> None:
        self._fill_run()
        self._fill_monitoring()
        self._fill_secrets()
        self._fill_storage()
        self._fill_compute()
        self._fill_sql()

    def _fill_run(self) -> None:
        for index in range(COUNT):
            template = {"containers": [{"image": "none:v1"}]}
            self.ask(f"/v2/{LOCATION}/services?serviceId=s{index}", {"template": template})
            self.ask(f"/v2/{LOCATION}/jobs?jobId=j{index}", {"template": {"taskCount": COUNT, "template": template}})
        for index in range(COUNT):
            changed = {"containers": [{"image": "none:v1", "env": [{"name": "A", "value": str(index)}]}]}
            self.ask(f"/v2/{LOCATION}/services/s0", {"template": changed}, "PATCH")
            self.ask(f"/v2/{LOCATION}/jobs/j0:run", {}, "POST")

    def _fill_monitoring(self) -> None:
        end = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        for index in range(COUNT):
            channel = {"type": "email", "displayName": f"c{index}", "labels": {"email_address": "a@b.example"}}
            self.ask("/v3/projects/demo/notificationChannels", channel)
            threshold = {
                "filter": 'metric.type="run.googleapis.com/request_count" AND resource.type="cloud_run_revision"',
                "comparison": "COMPARISON_GT",
                "duration": "60s",
            }
            conditions = [{"displayName": "c", "conditionThreshold": threshold}]
            policy = {"displayName": f"p{index}", "combiner": "OR", "conditions": conditions}
            self.ask("/v3/projects/demo/alertPolicies", policy)
            descriptor = {"type": f"custom.googleapis.com/m{index}", "metricKind": "GAUGE", "valueType": "INT64"}
            self.ask("/v3/projects/demo/metricDescriptors", descriptor)
            series = {
                "metric": {"type": "custom.googleapis.com/walked", "labels": {"number": str(index)}},
                "resource": {"type": "global", "labels": {"project_id": "demo"}},
                "points": [{"interval": {"endTime": end}, "value": {"int64Value": "1"}}],
            }
            self.ask("/v3/projects/demo/timeSeries", {"timeSeries": [series]})

    def _fill_secrets(self) -> None:
        for index in range(COUNT):
            self.ask(f"/v1/projects/demo/secrets?secretId=s{index}", {"replication": {"automatic": {}}})
            payload = {"data": base64.b64encode(b"x").decode()}
            self.ask("/v1/projects/demo/secrets/s0:addVersion", {"payload": payload})

    def _fill_storage(self) -> None:
        for index in range(COUNT):
            self.ask("/storage/v1/b?project=demo", {"name": f"bucket-{index}"})
            self.ask(f"/upload/storage/v1/b/bucket-0/o?uploadType=media&name=o/object-{index}", b"x")

    def _fill_compute(self) -> None:
        table = self.server.cloud.store.json("compute.resources")
        for index in range(COUNT):
            bucket = {"name": f"backend-{index}", "bucketName": "x"}
            self.ask("/compute/v1/projects/demo/global/backendBuckets", bucket)
            group = {"name": f"g-{index}", "networkEndpointType": "SERVERLESS", "cloudRun": {"service": "s"}}
            self.ask("/compute/v1/projects/demo/regions/us-central1/networkEndpointGroups", group)
            for kind in KINDS.values():
                scope = "global" if kind.scope == "global" else "regions/us-central1"
                name = f"plain-{index}"
                table.put(f"demo/{scope}/{kind.collection}/{name}", {"name": name, "kind": kind.type})

    def _fill_sql(self) -> None:
        store = self.server.cloud.store
        for index in range(COUNT):
            store.json("sql.instances").put(f"demo/i{index}", {"name": f"i{index}", "project": "demo"})
            for number in (index, 100 + index):
                record = {"id": str(number), "instance": "i0", "status": "SUCCESSFUL"}
                store.json("sql.backups").put(f"demo/i0/{number}", record)
            self.ask(f"/v1/projects/demo/instances/i0/backupRuns/{100 + index}", verb="DELETE")


@dataclass(frozen=True)
class Walk:
    """Where a list method finds at least COUNT items: values of its path's variables, and query parameters."""

    values: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)


PROJECT = {"": "projects/demo"}
SQL = {"project": "demo", "instance": "i0"}
WALKS = {
    "google.cloud.run.v2.Services.ListServices": Walk(),
    "google.cloud.run.v2.Jobs.ListJobs": Walk(),
    "google.cloud.run.v2.Revisions.ListRevisions": Walk({"": f"{LOCATION}/services/s0"}),
    "google.cloud.run.v2.Executions.ListExecutions": Walk({"": f"{LOCATION}/jobs/j0"}),
    "google.cloud.run.v2.Tasks.ListTasks": Walk({"": f"{LOCATION}/jobs/-/executions/-"}),
    "google.longrunning.Operations.ListOperations": Walk(),
    "google.monitoring.v3.AlertPolicyService.ListAlertPolicies": Walk(PROJECT),
    "google.monitoring.v3.NotificationChannelService.ListNotificationChannels": Walk(PROJECT),
    "google.monitoring.v3.MetricService.ListMetricDescriptors": Walk(PROJECT),
    "google.monitoring.v3.MetricService.ListTimeSeries": Walk(
        PROJECT,
        {
            "filter": 'metric.type="custom.googleapis.com/walked"',
            "interval.startTime": (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "interval.endTime": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    ),
    "google.cloud.secretmanager.v1.SecretManagerService.ListSecrets": Walk(PROJECT),
    "google.cloud.secretmanager.v1.SecretManagerService.ListSecretVersions": Walk({"": "projects/demo/secrets/s0"}),
    "storage.buckets.list": Walk(query={"project": "demo"}),
    "storage.objects.list": Walk({"bucket": "bucket-0"}, {"prefix": "o/"}),
    "sqladmin.instances.list": Walk(SQL),
    "sqladmin.backupRuns.list": Walk(SQL),
    "sqladmin.operations.list": Walk(SQL),
}


def walk_of(method: Method) -> Walk | None:
    if method.label.startswith("compute."):
        return Walk({"project": "demo", "region": "us-central1"})
    return WALKS.get(method.label)


def test_every_list_method_is_walked(cloud: Cloud) -> None:
    missing = {method.label for method in cloud.paged if walk_of(method) is None}
    assert not missing, f"fill the lists of {missing} in this test, and name them in WALKS"


def test_the_unpaged_lists_are_those_that_google_does_not_page(cloud: Cloud) -> None:
    pages = {}
    for document in ("storage.v1.json", "compute.v1.json", "sqladmin.v1.json"):
        described = json.loads((DOCUMENTS / document).read_text())
        for resource in described["resources"].values():
            for method in resource.get("methods", {}).values():
                label = method["id"].replace("sql.", "sqladmin.", 1) if document[0:3] == "sql" else method["id"]
                pages[label] = "pageToken" in method.get("parameters", {})
    for method in cloud.methods.values():
        if method.label in pages:
            assert pages[method.label] == (method.label not in UNPAGED), method.label


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_token_that_a_method_did_not_issue_is_refused(cloud: Cloud, token: str) -> None:
    answers = {method.label: cloud.status(method, {"pageToken": token}) for method in cloud.paged}
    assert answers == dict.fromkeys(answers, 400)


@pytest.mark.parametrize("size", ["-1", "x"])
def test_a_page_size_that_makes_no_sense_is_refused(cloud: Cloud, size: str) -> None:
    answers = {method.label: cloud.status(method, {method.size: size}) for method in cloud.paged}
    assert answers == dict.fromkeys(answers, 400)


@pytest.mark.parametrize("size", [1, 2, COUNT - 1, COUNT])
def test_a_walk_gives_every_item_once_and_in_order(cloud: Cloud, size: int) -> None:
    for method in cloud.paged:
        if (walk := walk_of(method)) is not None:
            whole, token = cloud.page(method, walk, 1000)
            assert len(whole) >= COUNT, method
            assert token == "", method
            assert cloud.walk(method, walk, size) == whole, method


def test_a_token_belongs_to_its_query(cloud: Cloud) -> None:
    listing, token = cloud.endpoint + "/storage/v1/b/bucket-0/o?prefix=o/&maxResults=2", ""
    token = cloud.ask(listing)["nextPageToken"]
    assert cloud.ask(f"{listing}&pageToken={token}&fields=items&prettyPrint=false")["items"]
    assert cloud.refusal(f"{listing.replace('prefix=o', 'prefix=')}&pageToken={token}")[0] == 400
    assert cloud.refusal(f"{listing.replace('bucket-0', 'bucket-1')}&pageToken={token}")[0] == 400
    secrets = cloud.endpoint + "/v1/projects/demo/secrets?pageSize=2"
    token = cloud.ask(secrets)["nextPageToken"]
    assert len(cloud.ask(f"{secrets.replace('pageSize=2', 'pageSize=3')}&pageToken={token}")["secrets"]) == 3
    code, error = cloud.refusal(f"{secrets}&filter=labels.a:b&pageToken={token}")
    assert (code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["fieldViolations"][0]["field"] == "page_token"
    assert cloud.refusal(f"{cloud.endpoint}/v3/projects/demo/alertPolicies?pageToken={token}")[0] == 400


def test_a_walk_neither_skips_nor_repeats_when_items_come_and_go(cloud: Cloud) -> None:
    secrets = "/v1/projects/demo/secrets?pageSize=2"
    for index in range(4):
        cloud.ask(f"/v1/projects/demo/secrets?secretId=come-and-go-{index}", {"replication": {"automatic": {}}})
    wanted = "&filter=name:come-and-go"
    first = cloud.ask(f"{secrets}{wanted}")
    names = [secret["name"] for secret in first["secrets"]]
    cloud.ask(f"/v1/{names[0]}", verb="DELETE")
    for new in ("new", "newest"):
        cloud.ask(f"/v1/projects/demo/secrets?secretId=come-and-go-{new}", {"replication": {"automatic": {}}})
    second = cloud.ask(f"{secrets}{wanted}&pageToken={first['nextPageToken']}")
    found = [*names, *(secret["name"] for secret in second["secrets"])]
    assert [name.rpartition("-")[2] for name in found] == ["3", "2", "1", "0"]
    assert "nextPageToken" not in second

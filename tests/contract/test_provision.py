"""A new environment as a graph, applied to the local cloud: what `localgcp init` creates, by other means."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import yaml

from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.api.environment import AgUiEnvironmentSpec, Management
from agui_operator.api.parse import parse_environment
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.provisioning.graph import Graph, GraphInvalid, Node, Site
from agui_operator.core.provisioning.plan import plan, plan_deletion
from agui_operator.core.provisioning.resources import NewEnvironment, document, new_graph, observed_graph
from agui_operator.core.provisioning.status import RowState, rows, summarize
from agui_operator.engine.environment.provision import Provisioner
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from localgcp.cli.init import Plan, create_environment

pytestmark = pytest.mark.contract

_SERVERS_OWN = re.compile(
    r"^(id|etag|.*[tT]ime(stamp|Created)?|created|updated|fingerprint|.*[gG]eneration|settingsVersion|ipAddresses"
    r"|labels|userLabels|description|creationRecord|mutationRecords)$"
)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_SQL_FIRST_LOOK", 0.2)
    monkeypatch.setattr(operations, "_FIRST_PAUSE", 0.2)


def wanted(fresh: LocalCloud) -> NewEnvironment:
    return NewEnvironment("prod", "shop", "demo", "us-central1", fresh.edge, "shop-web")


def resources(fresh: LocalCloud) -> dict[str, Any]:
    """Everything in the cloud, without what only the servers set and without the marks of an owner."""
    compute = "/compute/v1/projects/demo"
    found = {
        path: fresh.call(path)
        for path in (
            "/v1/projects/demo/instances",
            "/v1/projects/demo/instances/main/databases",
            "/v1/projects/demo/instances/main/users",
            "/v1/projects/demo/secrets",
            "/v1/projects/demo/secrets/concierge-db/versions",
            "/storage/v1/b?project=demo",
            f"{compute}/regions/us-central1/networkEndpointGroups",
            *(
                f"{compute}/global/{collection}"
                for collection in (
                    "backendServices",
                    "backendBuckets",
                    "urlMaps",
                    "targetHttpProxies",
                    "forwardingRules",
                )
            ),
            "/v3/projects/demo/notificationChannels",
        )
    }
    for channel in found["/v3/projects/demo/notificationChannels"]["notificationChannels"]:
        channel["name"] = "chosen by Monitoring"
    cleaned: dict[str, Any] = _cleaned(found)
    return cleaned


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _cleaned(v) for k, v in value.items() if not _SERVERS_OWN.match(k)}
    return [_cleaned(v) for v in value] if isinstance(value, list) else value


async def test_the_graph_creates_what_localgcp_init_creates(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    new = wanted(fresh_cloud)
    have = await Provisioner(cloud).apply(new_graph(new))
    by_graph = await asyncio.to_thread(resources, fresh_cloud)
    printed = document(new, {name: seen.outputs for name, seen in have.items() if seen is not None})

    fresh_cloud.admin("reset", "POST")
    asked = Plan("prod", "shop", "shop-web")
    theirs = await asyncio.to_thread(create_environment, fresh_cloud.endpoint, asked)
    assert by_graph == await asyncio.to_thread(resources, fresh_cloud)

    expected = yaml.safe_load(theirs)
    for either in (printed, expected):
        (channel,) = either["spec"]["observability"]["channels"]
        assert re.fullmatch(r"projects/demo/notificationChannels/\d+", channel.pop("resource"))
    assert printed == expected


async def test_a_second_plan_is_empty_and_repeating_writes_nothing(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    graph, provisioner = new_graph(wanted(fresh_cloud)), Provisioner(cloud)
    have = await provisioner.apply(graph)
    assert plan(graph, have) == plan(graph, await provisioner.look(graph)) == ()
    assert {row.state for row in rows(graph, have)} == {RowState.PRESENT}
    assert summarize(rows(graph, have)).message == "13 resources are present"
    since = fresh_cloud.last
    assert await Provisioner(cloud).apply(graph) == have
    assert fresh_cloud.effects(since) == []
    assert fresh_cloud.ledger(since, kind="call", write="true") == []


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "sqladmin.users.insert", "when": "before"},
        {"method": "sqladmin.databases.insert", "when": "after"},
        {"method": "*AddSecretVersion", "when": "after"},
        {"method": "*CreateNotificationChannel", "when": "after"},
        {"method": "compute.urlMaps.insert", "when": "after"},
    ],
    ids=lambda fault: f"{fault['when']} {fault['method'].strip('*')}",
)
async def test_it_goes_on_after_an_interruption(cloud: Cloud, fresh_cloud: LocalCloud, fault: dict[str, str]) -> None:
    graph = new_graph(wanted(fresh_cloud))
    fresh_cloud.fault(**fault, count=1, code="UNAVAILABLE", message="lost")
    with pytest.raises(CloudError, match="lost"):
        await Provisioner(cloud, attempts=1).apply(graph)
    have = await Provisioner(cloud).apply(graph)
    assert summarize(rows(graph, have)).ready is True
    assert len(fresh_cloud.call("/v1/projects/demo/secrets/concierge-db/versions")["versions"]) == 1
    assert len(fresh_cloud.call("/v3/projects/demo/notificationChannels")["notificationChannels"]) == 1


class Died(Exception):
    """Stands for SIGKILL: nothing in the operator catches it."""


async def test_a_process_that_dies_at_any_write_is_followed_by_one_that_goes_on(fresh_cloud: LocalCloud) -> None:
    """Each process may make one more write of its own; the last one has nothing left to do."""
    graph = new_graph(wanted(fresh_cloud))
    since, processes = fresh_cloud.last, 0
    while True:
        left = 1

        def before_write() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Died

        cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint), before_write=before_write)
        try:
            have = await Provisioner(cloud).apply(graph)
            break
        except Died:
            processes += 1
            assert processes < 40, "it never ends"
        finally:
            await cloud.close()
    assert processes >= 10, "the writes were made one by one"
    assert {row.state for row in rows(graph, have)} == {RowState.PRESENT}
    assert len(fresh_cloud.call("/v1/projects/demo/secrets/concierge-db/versions")["versions"]) == 1
    assert len(fresh_cloud.call("/v3/projects/demo/notificationChannels")["notificationChannels"]) == 1
    created = [resource for effect, resource in fresh_cloud.effects(since) if effect == "create"]
    assert len(created) == len(set(created)), "nothing was created twice"


async def test_drift_is_corrected_and_what_cannot_be_changed_is_reported(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    graph, provisioner = new_graph(wanted(fresh_cloud)), Provisioner(cloud)
    await provisioner.apply(graph)
    fresh_cloud.call("/compute/v1/projects/demo/global/backendBuckets/prod-assets", "PATCH", {"enableCdn": False})
    assert [action.node.id for action in plan(graph, await provisioner.look(graph))] == ["backend-bucket"]
    await provisioner.apply(graph)
    assert fresh_cloud.call("/compute/v1/projects/demo/global/backendBuckets/prod-assets")["enableCdn"] is True

    moved = new_graph(replace(wanted(fresh_cloud), service="other-web"))
    since = fresh_cloud.last
    have = await provisioner.apply(moved)
    assert fresh_cloud.effects(since) == []
    verdict = summarize(rows(moved, have))
    assert (verdict.ready, verdict.reason) == (False, "Immutable")
    assert "ServerlessNeg endpoint-group differs in service, which can't be changed" in verdict.message


async def test_deleting_leaves_the_data_and_what_it_stands_on(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    graph, provisioner = new_graph(wanted(fresh_cloud)), Provisioner(cloud)
    await provisioner.apply(graph)
    left = await provisioner.delete(graph)
    assert sorted(name for name, seen in left.items() if seen is not None) == [
        *("app-database", "app-user", "artifacts", "assets", "database", "password")
    ]
    assert plan_deletion(graph, left) == ()
    everything = Graph(graph.site, tuple(replace(node, retain=False) for node in graph.nodes))
    assert set((await provisioner.delete(everything)).values()) == {None}
    assert fresh_cloud.call("/v1/projects/demo/instances").get("items", []) == []


async def test_what_others_made_is_not_taken(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "demo-assets", "location": "US-CENTRAL1"})
    graph = new_graph(wanted(fresh_cloud))
    have = await Provisioner(cloud).apply(graph)
    states = {row.node.id: row.state for row in rows(graph, have)}
    assert states["assets"] is RowState.NOT_OWNED
    assert states["backend-bucket"] is RowState.BLOCKED
    assert states["backend-service"] is RowState.PRESENT
    left = await Provisioner(cloud).delete(graph)
    assert left["assets"] is not None


async def test_a_name_that_is_taken_between_look_and_write_is_told(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    fresh_cloud.fault(method="storage.buckets.get", count=1, code="NOT_FOUND", message="not yet", match="demo-assets")
    fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "demo-assets"})
    with pytest.raises(NotOwned, match="Bucket demo-assets has no label agui-owner"):
        await Provisioner(cloud).apply(new_graph(wanted(fresh_cloud)))


async def test_what_is_observed_is_only_looked_at(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    new = wanted(fresh_cloud)
    provisioner = Provisioner(cloud)
    have = await provisioner.apply(new_graph(new))
    printed = document(new, {name: seen.outputs for name, seen in have.items() if seen is not None})
    graph = observed_graph(AgUiEnvironmentSpec.model_validate(printed["spec"]))
    assert {node.management for node in graph.nodes} == {Management.OBSERVED}
    since = fresh_cloud.last
    assert summarize(rows(graph, await provisioner.apply(graph))).message == "9 resources are present"
    await provisioner.delete(graph)
    assert fresh_cloud.ledger(since, kind="call", write="true") == []
    fresh_cloud.call("/v3/" + printed["spec"]["observability"]["channels"][0]["resource"], "DELETE")
    verdict = summarize(rows(graph, await provisioner.look(graph)))
    assert (verdict.ready, verdict.reason) == (False, "Missing")
    assert "NotificationChannel NotificationChannel/oncall does not exist" in verdict.message


async def test_an_operation_of_somebody_else_is_awaited(
    cloud: Cloud, fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The creation of the instance was started by a process that died: the next run waits for its end."""
    monkeypatch.setattr("agui_operator.engine.environment.provision._PENDING_PAUSE", 0.2)
    graph = new_graph(wanted(fresh_cloud))
    node = graph.node("database")
    provisioner = Provisioner(cloud)
    kind, want = provisioner._of(node)
    outcome = await kind.create(cloud, graph.site, want)
    assert outcome.operation is not None
    have = await provisioner.apply(graph)
    assert summarize(rows(graph, have)).ready is True


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("x", "Unheard", {}), "node x is of kind Unheard, which is not in the registry"),
        (Node("x", "Bucket", {"name": "b", "colour": "red"}), "node x: kind Bucket has no field colour"),
        (Node("x", "SqlUser", {"name": "b"}), "node x: kind SqlUser needs instance: they identify the resource"),
    ],
)
async def test_a_node_that_no_kind_understands_is_named(cloud: Cloud, node: Node, message: str) -> None:
    with pytest.raises(GraphInvalid, match=message):
        await Provisioner(cloud).apply(Graph(Site("demo", "us-central1", "me"), (node,)))


async def test_a_refused_look_ends_the_run(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    fresh_cloud.fault(method="storage.buckets.get", count=1, code="PERMISSION_DENIED", message="not you")
    since = fresh_cloud.last
    with pytest.raises(CloudError, match="not you"):
        await Provisioner(cloud).apply(new_graph(wanted(fresh_cloud)))
    assert fresh_cloud.effects(since) == []


def init(cloud: LocalCloud, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agui_operator", "init", "--project", "demo", "--region", "us-central1"]
    env = {**os.environ, "AGUI_GCP_ENDPOINT": cloud.endpoint}
    return subprocess.run([*command, *words], env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_prints_an_environment_that_the_operator_accepts(fresh_cloud: LocalCloud) -> None:
    words = ("--domain", fresh_cloud.edge, "--environment", "prod", "--namespace", "shop", "--service", "shop-web")
    done = init(fresh_cloud, *words)
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["metadata"] == {"name": "prod", "namespace": "shop"}
    assert parse_environment(printed["spec"]).edge is not None
    password = fresh_cloud.call("/v1/projects/demo/secrets/concierge-db/versions/latest:access")["payload"]["data"]
    for text in (done.stdout, done.stderr, (fresh_cloud.state_dir / "ledger.jsonl").read_text()):
        assert base64.b64decode(password).decode() not in text


def test_the_command_says_what_it_cannot_create(fresh_cloud: LocalCloud) -> None:
    fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "demo-artifacts", "location": "US-CENTRAL1"})
    done = init(fresh_cloud, "--domain", "app.acme.example")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Bucket artifacts carries no owner; delete it, or set management to Observed" in done.stderr
    assert "Traceback" not in done.stderr

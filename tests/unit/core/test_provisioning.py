"""Graphs of resources: what is refused, what is resolved, what is planned and what a user reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agui_operator.api.environment import Management
from agui_operator.api.parse import parse_environment
from agui_operator.core.errors import Fault, classify
from agui_operator.core.provisioning.graph import Graph, GraphInvalid, Node, Ref, Site, observable, references, resolved
from agui_operator.core.provisioning.plan import (
    Diff,
    Observed,
    ResourceCreated,
    ResourceDeleted,
    ResourceUpdated,
    State,
    blockers,
    describe,
    kept,
    plan,
    plan_deletion,
)
from agui_operator.core.provisioning.resources import (
    NewEnvironment,
    document,
    new_graph,
    observed_graph,
    observed_nodes,
)
from agui_operator.core.provisioning.status import RowState, rows, summarize

SITE = Site("p", "r", "me")
INSTANCE = Node("database", "SqlInstance", {"name": "main"})
APP = Node("app", "SqlDatabase", {"instance": Ref("database", "name"), "name": "app"})
READY = Observed(outputs={"name": "main"}, owner="me")
OTHERS = replace(INSTANCE, management=Management.OBSERVED)


def graph(*nodes: Node) -> Graph:
    return Graph(SITE, nodes)


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_nodes_are_in_the_order_of_their_dependencies() -> None:
    last = Node("last", "X", {}, depends_on=("app",))
    assert [node.id for node in graph(last, APP, INSTANCE).nodes] == ["database", "app", "last"]
    assert graph(APP, INSTANCE).node("app") == APP
    assert graph(APP, INSTANCE).dependents("database") == (APP,)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([APP, INSTANCE, APP], "more than one node is called app"),
        ([APP], "node app depends on database, which the graph does not have"),
        ([Node("a", "X", {}, ("b", "c"))], "node a depends on b, c, which"),
        ([Node("a", "X", {}, ("b",)), Node("b", "X", {}, ("c",)), Node("c", "X", {"x": [Ref("a", "y")]})], "a -> "),
        ([Node("a", "X", {"x": Ref("a", "y")})], "nodes depend on each other: a -> a"),
    ],
    ids=["twice", "unknown reference", "unknown dependency", "cycle", "itself"],
)
def test_what_is_no_graph_is_refused_with_the_nodes_at_fault(nodes: list[Node], message: str) -> None:
    with pytest.raises(GraphInvalid, match=message) as caught:
        graph(*nodes)
    assert classify(caught.value) is Fault.USER
    assert caught.value.reason == "InvalidSpec"


def test_a_cycle_is_told_with_every_node_in_it() -> None:
    with pytest.raises(GraphInvalid) as caught:
        graph(Node("a", "X", {}, ("b",)), Node("b", "X", {}, ("c",)), Node("c", "X", {}, ("a",)), Node("d", "X", {}))
    circle = str(caught.value).partition(": ")[2].split(" -> ")
    assert (set(circle), circle[0]) == ({"a", "b", "c"}, circle[-1])


def test_references_are_found_and_resolved_at_any_depth() -> None:
    deep = {"one": [{"two": Ref("a", "x")}], "text": "Ref", "bytes": b"ab", "three": (Ref("b", "y"), 3)}
    assert list(references(deep)) == [Ref("a", "x"), Ref("b", "y")]
    found = resolved(Node("n", "X", deep), {"a": {"x": "1"}, "b": {"y": "2"}})
    assert found.desired == {"one": ({"two": "1"},), "text": "Ref", "bytes": b"ab", "three": ("2", 3)}


def test_what_is_not_known_yet_is_not_compared() -> None:
    node = Node("n", "X", {"name": "n", "one": Ref("a", "x"), "two": [Ref("a", "x"), Ref("b", "y")]})
    assert observable(node, {}).desired == {"name": "n", "one": None, "two": None}
    assert observable(node, {"a": {"x": "1"}, "b": {}}).desired == {"name": "n", "one": "1", "two": None}
    assert observable(node, {"a": {"x": "1"}, "b": {"y": "2"}}).desired["two"] == ("1", "2")


@pytest.mark.parametrize(("outputs", "has"), [({}, "none"), ({"b": "1", "a": "2"}, "a, b")])
def test_an_output_that_is_not_there_is_named(outputs: dict[str, str], has: str) -> None:
    with pytest.raises(GraphInvalid, match=f"node app refers to output name of database, which has: {has}"):
        resolved(APP, {"database": outputs})


# --- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("have", "actions"),
    [
        pytest.param({"database": None, "app": None}, [ResourceCreated(INSTANCE)], id="dependencies first"),
        pytest.param(
            {"database": READY, "app": None},
            [ResourceCreated(replace(APP, desired={"instance": "main", "name": "app"}))],
            id="then what depends on them, with their outputs",
        ),
        pytest.param({"database": READY}, [], id="what was not looked at is not created"),
        pytest.param({"database": replace(READY, state=State.PENDING), "app": None}, [], id="an operation is awaited"),
        pytest.param({"database": replace(READY, state=State.FAILED), "app": None}, [], id="nothing on a failed one"),
        pytest.param({"database": replace(READY, owner="she"), "app": None}, [], id="nothing on what is not ours"),
        pytest.param(
            {"database": replace(READY, diff=Diff(("tier",), ("region",))), "app": None},
            [ResourceUpdated(INSTANCE, Diff(("tier",), ("region",)))],
            id="drift is corrected first",
        ),
        pytest.param(
            {"database": replace(READY, diff=Diff((), ("region",))), "app": READY},
            [],
            id="an immutable difference is not written",
        ),
        pytest.param(
            {"database": replace(READY, diff=Diff(("tier",)), state=State.PENDING), "app": READY},
            [],
            id="nothing is written during an operation",
        ),
    ],
)
def test_a_plan_is_what_is_ready_and_differs(have: dict[str, Observed | None], actions: list[Any]) -> None:
    assert list(plan(graph(APP, INSTANCE), have)) == actions


def test_what_is_observed_is_relied_on_whoever_owns_it() -> None:
    found = replace(READY, owner="she", diff=Diff(("tier",)))
    have = {"database": found, "app": None}
    assert [action.node.id for action in plan(graph(APP, OTHERS), have)] == ["app"]
    assert plan(graph(APP, OTHERS), {"database": None, "app": None}) == ()
    assert blockers(graph(APP, OTHERS), APP, {"database": None, "app": None}) == ("database",)


def test_deletion_goes_backwards_and_waits_for_what_is_not_gone() -> None:
    both = graph(APP, INSTANCE)
    assert plan_deletion(both, {"database": READY, "app": READY}) == (ResourceDeleted(APP),)
    assert plan_deletion(both, {"database": READY, "app": None}) == (ResourceDeleted(INSTANCE),)
    assert plan_deletion(both, {"database": READY}) == ()  # nobody knows whether the database is there
    assert plan_deletion(both, {"database": READY, "app": replace(READY, state=State.PENDING)}) == ()
    assert plan_deletion(both, {"database": None, "app": None}) == ()


@pytest.mark.parametrize(
    ("app", "database", "stays"),
    [
        (replace(APP, retain=True), READY, ["database", "app"]),
        (APP, replace(READY, owner="she"), ["database"]),
        (APP, replace(READY, owner=None), []),
        (replace(APP, management=Management.OBSERVED), READY, ["database", "app"]),
    ],
    ids=["retained, with what it stands on", "somebody else's", "a kind without owners", "observed"],
)
def test_what_stays_keeps_what_it_stands_on(app: Node, database: Observed, stays: list[str]) -> None:
    found = {"database": database, "app": READY}
    assert [node.id for node in kept(graph(app, INSTANCE), found)] == stays


def test_what_is_not_known_is_kept() -> None:
    assert kept(graph(APP, INSTANCE), {"database": READY}) == (INSTANCE, APP)
    assert kept(graph(APP, INSTANCE), {"database": READY, "app": None}) == ()


def test_actions_are_told_without_values() -> None:
    node = replace(INSTANCE, desired={"name": "main", "password": "s3cret"})
    told = [describe(action) for action in (ResourceCreated(node), ResourceDeleted(node))]
    told.append(describe(ResourceUpdated(node, Diff(("tier", "flags"), ("region",)))))
    assert told == [
        "SqlInstance database created",
        "SqlInstance database deleted",
        "SqlInstance database updated: tier, flags",
    ]


def test_a_difference_is_true() -> None:
    assert [bool(diff) for diff in (Diff(), Diff(("a",)), Diff((), ("a",)))] == [False, True, True]


# --- status ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "have", "state", "message"),
    [
        (INSTANCE, READY, RowState.PRESENT, ""),
        (OTHERS, replace(READY, owner="she", diff=Diff(("tier",))), RowState.PRESENT, ""),
        (OTHERS, replace(READY, state=State.PENDING), RowState.PRESENT, ""),
        (INSTANCE, None, RowState.MISSING, "SqlInstance database does not exist; it is created next"),
        (OTHERS, None, RowState.MISSING, "SqlInstance database does not exist; create it or correct the name"),
        (INSTANCE, replace(READY, state=State.PENDING), RowState.PENDING, "has an operation under way"),
        (OTHERS, replace(READY, state=State.FAILED, detail="Suspended"), RowState.FAILED, "is in state Suspended"),
        (INSTANCE, replace(READY, state=State.FAILED), RowState.FAILED, "is in state Failed"),
        (INSTANCE, replace(READY, owner="she"), RowState.NOT_OWNED, "belongs to she; delete it, or set management"),
        (INSTANCE, replace(READY, owner=""), RowState.NOT_OWNED, "carries no owner; delete it, or set management"),
        (
            INSTANCE,
            replace(READY, owner="she", state=State.FAILED, detail="Suspended"),
            RowState.NOT_OWNED,
            "belongs to she",
        ),
        (INSTANCE, replace(READY, diff=Diff(("tier",))), RowState.DIFFERS, "SqlInstance database differs in tier"),
        (INSTANCE, replace(READY, diff=Diff((), ("region",))), RowState.IMMUTABLE, "in region, which can't be changed"),
    ],
)
def test_a_row_says_how_a_resource_is(node: Node, have: Observed | None, state: RowState, message: str) -> None:
    (row,) = rows(graph(node), {"database": have})
    assert row.state is state
    assert message in row.message


def test_a_row_says_what_is_waited_for() -> None:
    _, app = rows(graph(APP, INSTANCE), {"database": None, "app": None})
    assert (app.state, app.message) == (RowState.BLOCKED, "SqlDatabase app waits for database")
    (unknown,) = rows(graph(INSTANCE), {})
    assert (unknown.state, unknown.message) == (RowState.UNKNOWN, "SqlInstance database has not been checked yet")


@pytest.mark.parametrize(
    ("nodes", "have", "ready", "reason", "message"),
    [
        ([INSTANCE], {"database": READY}, True, "Present", "1 resources are present"),
        ([INSTANCE], {"database": None}, None, "Provisioning", "it is created next"),
        ([OTHERS], {"database": None}, False, "Missing", "create it or correct the name"),
        ([INSTANCE, APP], {"database": READY, "app": replace(READY, owner="she")}, False, "NotOwned", "belongs to she"),
        ([OTHERS, APP], {"database": None, "app": None}, False, "Missing", "create it or correct the name"),
    ],
)
def test_the_summary_is_that_of_the_worst_row(
    nodes: list[Node], have: dict[str, Observed | None], ready: bool | None, reason: str, message: str
) -> None:
    summary = summarize(rows(graph(*nodes), have))
    assert (summary.ready, summary.reason) == (ready, reason)
    assert message in summary.message


# --- environments ----------------------------------------------------------------------------------------------------

NEW = NewEnvironment("prod", "shop", "acme", "us-central1", "app.acme.example", "shop-web")
MINIMAL = {"projectId": "acme-prod", "region": "us-central1"}


def test_a_new_environment_is_a_graph_whose_edge_stands_on_its_data() -> None:
    graph = new_graph(NEW)
    order = [node.id for node in graph.nodes]
    for first, then in [
        ("database", "app-user"),
        ("password", "app-user"),
        ("assets", "backend-bucket"),
        ("endpoint-group", "backend-service"),
        ("url-map", "proxy"),
        ("proxy", "forwarding-rule"),
    ]:
        assert order.index(first) < order.index(then)
    assert graph.site == Site("acme", "us-central1", "shop-prod")
    data = {"database", "app-database", "app-user", "password", "assets", "artifacts"}
    assert {node.id for node in graph.nodes if node.retain} == data
    assert {node.management for node in graph.nodes} == {Management.MANAGED}


def test_the_owner_of_a_new_environment_fits_a_label() -> None:
    assert len(replace(NEW, name="x" * 60, namespace="y" * 60).site.owner) <= 63


def test_the_document_of_a_new_environment_is_valid_and_names_what_the_graph_creates() -> None:
    spec = document(NEW, {"channel": {"name": "projects/acme/notificationChannels/1"}})["spec"]
    parsed = parse_environment({**spec, "projectId": "acme-prod"})
    named = {(node.kind, node.desired["name"]) for node in observed_nodes(parsed)}
    created = {(node.kind, node.desired["name"]) for node in new_graph(NEW).nodes}
    assert named <= created
    assert {node.management for node in observed_graph(parsed).nodes} == {Management.OBSERVED}
    assert [node.kind for node in observed_nodes(parsed)] == [
        *("SqlInstance", "SqlDatabase", "Bucket", "Bucket", "UrlMap", "BackendBucket", "BackendService"),
        *("Secret", "NotificationChannel"),
    ]


def test_an_environment_that_names_nothing_is_an_empty_graph() -> None:
    assert observed_graph(parse_environment(MINIMAL)).nodes == ()


def test_what_is_named_twice_is_one_node() -> None:
    bucket = {"bucket": "acme-files"}
    spec = {**MINIMAL, "storage": {"assets": bucket, "artifacts": bucket}}
    assert [node.id for node in observed_graph(parse_environment(spec)).nodes] == ["Bucket/acme-files"]

"""The place of a release is remembered, renewed where it stays the same, and never moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.conditions import Reason
from agui_operator.core.environment import Place
from agui_operator.core.memory import Memory, from_status, to_status
from agui_operator.core.names import Names, old_service_name
from agui_operator.core.place import differences, moved, renewed
from agui_operator.core.place import from_status as parse
from place_model import EDGE, PLACE, RECORD


def test_a_record_comes_back_from_the_status_as_it_was() -> None:
    bare = replace(RECORD, place=Place("p", "r", "", "", None, None))
    for record in (RECORD, bare, None):
        assert from_status(to_status(Memory(place=record))).place == record


@pytest.mark.parametrize("part", ["project", "region", "service"])
def test_a_damaged_record_is_none(part: str) -> None:
    raw = to_status(Memory(place=RECORD))["place"]
    assert parse({**raw, part: None}) is None
    assert parse({**raw, part: 7}) is None
    assert parse("nonsense") is None


def test_a_damaged_edge_is_read_as_far_as_it_goes() -> None:
    raw = to_status(Memory(place=RECORD))["place"]
    assert parse({**raw, "edge": {**raw["edge"], "urlMap": None}}) == replace(RECORD, place=replace(PLACE, edge=None))
    found = parse({**raw, "edge": {**raw["edge"], "apiPaths": 7}})
    assert found is not None
    assert found.place.edge == replace(EDGE, api_paths=())


ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("projectId", {"project": "q"}),
    ("region", {"region": "s"}),
    ("database.instance", {"sql_instance": None}),
    ("storage.assets.bucket", {"assets_bucket": "other"}),
    ("storage.artifacts.bucket", {"artifacts_bucket": ""}),
    ("edge.urlMap", {"edge": None}),
    ("edge.backendBucket", {"edge": replace(EDGE, backend_bucket="other")}),
    ("edge.backendService", {"edge": replace(EDGE, backend_service="other")}),
]


@pytest.mark.parametrize(("part", "change"), ELSEWHERE)
def test_a_move_is_refused_and_the_release_stays_where_it_is(part: str, change: dict[str, Any]) -> None:
    now = replace(PLACE, **change)
    blocker = moved(RECORD, "prod", now)
    assert blocker is not None
    assert blocker.reason is Reason.PLACE_CHANGED
    assert part in blocker.message
    assert "project p, region r" in blocker.message
    assert "change it back" in blocker.unblock_with
    assert not blocker.revokes
    assert not blocker.holds_running
    for at_rest in (True, False):
        assert renewed(RECORD, "prod", now, at_rest=at_rest) == RECORD


def test_another_environment_is_named_in_the_refusal() -> None:
    blocker = moved(RECORD, "staging", replace(PLACE, region="s"))
    assert blocker is not None
    assert "AgUiEnvironment prod" in blocker.message


def test_what_has_no_place_or_no_environment_is_not_moved() -> None:
    assert moved(None, "prod", PLACE) is None
    assert moved(RECORD, "prod", None) is None
    assert moved(RECORD, "prod", PLACE) is None


def test_what_does_not_move_a_release_is_renewed_at_rest_only() -> None:
    bare = replace(RECORD, place=replace(PLACE, edge=None, sql_instance=None, assets_bucket=""))
    assert differences(bare, PLACE) == ()
    assert renewed(bare, "prod", PLACE, at_rest=True) == RECORD, "the environment has grown"
    domain = replace(PLACE, edge=replace(EDGE, domain="new.example", api_paths=("/api",)), channels={})
    assert renewed(RECORD, "prod", domain, at_rest=True).place == domain
    flying = renewed(RECORD, "prod", domain, at_rest=False)
    assert (flying.place.edge, flying.place.channels) == (EDGE, {})


def test_names_are_those_of_the_place() -> None:
    names = RECORD.names(Names("ns", "shop", "uid", "elsewhere", "x", "cluster"))
    assert names.service_path == "projects/p/locations/r/services/shop-abc"
    assert names.owner == Names("ns", "shop", "other-uid", "", "", "cluster").owner
    assert (RECORD.project_id, RECORD.region) == ("p", "r")


label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
dotted = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?", fullmatch=True)


@given(label, dotted, label, dotted)
def test_no_two_deployments_share_a_cloud_name(one: str, a: str, other: str, b: str) -> None:
    first, second = Names(one, a, "u", "p", "r"), Names(other, b, "u", "p", "r")
    same = (one, a) == (other, b)
    assert (first.service == second.service) is same
    assert (first.path_matcher == second.path_matcher) is same
    assert (first.owner == second.owner) is same
    assert len(first.service) <= 30
    assert all(len(value) <= 63 for value in first.labels.values())


@given(st.text("ab-", min_size=3, max_size=60))
def test_names_that_concatenate_alike_do_not_meet(text: str) -> None:
    cuts = [(text[:i], text[i + 1 :]) for i, c in enumerate(text) if c == "-" and 0 < i < len(text) - 1]
    assert len({Names(*cut, "u", "p", "r").service for cut in cuts}) == len(cuts)


def test_what_an_earlier_version_named_alike() -> None:
    assert old_service_name("a-b", "c") == old_service_name("a", "b-c") == "a-b-c"
    assert Names("a", "b-c", "u", "p", "r", kept="a-b-c").service == "a-b-c"
    assert Names("a", "b", "u", "p", "r").owns("u")
    assert not Names("a", "b", "", "p", "r").owns("")

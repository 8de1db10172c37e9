"""Two deployments and one host, or one database: who has the right, and what the other one is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.api.parse import parse_environment
from agui_operator.core.conflicts import DATABASE, HOST, Claim, Tenant, claims_of, conflicts, tenant_of
from agui_operator.core.memory import Memory, to_status
from engine_fakes import sample
from place_model import RECORD

ENVIRONMENT = parse_environment(sample("environment.yaml"))
NO_EDGE = ENVIRONMENT.model_copy(update={"edge": None})
OLDER = Tenant("demo", "zebra", "u1", "demo", "2026-01-01T00:00:00Z")
YOUNGER = Tenant("demo", "ant", "u2", "demo", "2026-01-02T00:00:00Z")
HOSTED = Claim(HOST, "p", "map", "shop.example")
STORED = Claim(DATABASE, "p", "main", "app")


def test_the_older_one_has_the_right() -> None:
    both = {HOSTED: (OLDER, YOUNGER), STORED: (OLDER, YOUNGER)}
    assert conflicts(OLDER, both) == ()
    host, database = conflicts(YOUNGER, both)
    assert (host.reason, database.reason) == (Reason.HOST_CONFLICT, Reason.DATABASE_CONFLICT)
    assert "AgUiDeployment demo/zebra" in host.message
    assert "shop.example" in host.message
    assert "database app of Cloud SQL instance main" in database.message
    assert conflicts(YOUNGER, {HOSTED: (YOUNGER,)}) == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(replace(YOUNGER, serves=True, place=RECORD.place), OLDER, id="serves"),
        pytest.param(replace(YOUNGER, place=RECORD.place), OLDER, id="has begun"),
        pytest.param(replace(YOUNGER, created=OLDER.created), OLDER, id="by name"),
        pytest.param(OLDER, replace(YOUNGER, created=""), id="not in the cluster yet"),
    ],
)
def test_who_goes_before_whom(first: Tenant, second: Tenant) -> None:
    assert conflicts(first, {HOSTED: (first, second)}) == ()
    assert conflicts(second, {HOSTED: (first, second)}) != ()


def body(**more: Any) -> dict[str, Any]:
    meta = {"namespace": "demo", "name": "shop", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "spec": {**sample("release-v2.yaml"), **more}}


def test_what_a_deployment_has_comes_from_its_place_or_from_its_environment() -> None:
    tenant = tenant_of(body())
    assert ENVIRONMENT.edge is not None
    host, database = claims_of(tenant, ENVIRONMENT)
    assert (host.kind, host.where) == (HOST, ENVIRONMENT.edge.url_map)
    assert database == Claim(DATABASE, "demo", "main", "app")
    assert [c.kind for c in claims_of(tenant, NO_EDGE)] == [DATABASE]
    assert claims_of(tenant, None) == ()
    placed = tenant_of({**body(), "status": to_status(Memory(place=RECORD))})
    assert claims_of(placed, None) == (HOSTED,)


@pytest.mark.parametrize(
    ("databases", "values", "found"),
    [
        (("app",), (), "app"),
        (("app", "other"), ("other",), "other"),
        (("app", "other"), (), None),
        (("app", "other"), ("app", "other"), None),
        ((), ("app",), None),
    ],
)
def test_which_database_the_migrations_work_on(
    databases: tuple[str, ...], values: tuple[str, ...], found: str | None
) -> None:
    assert ENVIRONMENT.database is not None
    database = ENVIRONMENT.database.model_copy(update={"databases": databases})
    environment = NO_EDGE.model_copy(update={"database": database})
    tenant = replace(OLDER, migrates=True, values=frozenset(values))
    assert [claim.name for claim in claims_of(tenant, environment)] == ([found] if found else [])
    assert claims_of(replace(tenant, migrates=False), environment) == ()
    assert claims_of(tenant, environment.model_copy(update={"database": None})) == ()


def test_whatever_is_in_an_object_it_is_read() -> None:
    found = tenant_of({"metadata": {"uid": "u"}, "spec": {"migrations": {}, "backend": {"env": 7}}, "status": 3})
    assert (found.migrates, found.values, found.serves) == (True, frozenset(), False)
    assert tenant_of({"spec": "nonsense"}).namespace == "default"
    odd = body(backend={"env": [{"value": "app"}, {"value": 3}, "x"]}, migrations={})
    assert tenant_of(odd).values == {"app"}

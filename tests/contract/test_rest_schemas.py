"""The field tables of the REST-only APIs are those of Google's discovery documents, and the checks refuse the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from discovery_tables import TABLES, tables
from localgcp.kit.errors import ApiError
from localgcp.kit.schema import checked, merged

pytestmark = pytest.mark.contract


def test_the_tables_are_what_the_discovery_documents_say() -> None:
    assert json.loads(TABLES.read_text()) == tables()


@pytest.mark.parametrize(
    ("message", "body", "field"),
    [
        ("BackendBucket", {"enableCdn": "yes"}, "enableCdn"),
        ("BackendBucket", {"cdnPolicy": {"cacheMode": "ALWAYS"}}, "cdnPolicy.cacheMode"),
        ("BackendBucket", {"cdnPolicy": {"defaultTtl": 1.5}}, "cdnPolicy.defaultTtl"),
        ("BackendBucket", {"cdnPolicy": []}, "cdnPolicy"),
        ("BackendBucket", {"customResponseHeaders": "x"}, "customResponseHeaders"),
        ("BackendService", {"id": True}, "id"),
        ("ForwardingRule", {"labels": {"a": 1}}, "labels.a"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_field(message: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError, match=f"'{field}'") as caught:
        checked("compute", message, body)
    assert caught.value.http == 400


@pytest.mark.parametrize(
    "body", [{"id": "18446744073709551615"}, {"timeoutSec": 30.0}, {"timeoutSec": "30"}, {"description": None}, {}]
)
def test_what_json_allows_is_accepted(body: dict[str, Any]) -> None:
    assert checked("compute", "BackendService", body) == body


def test_merging_follows_rfc_7396() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None}, "d": [2], "e": {"f": None}}) == {
        "a": {"c": 2},
        "d": [2],
        "e": {},
    }

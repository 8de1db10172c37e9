"""The filter language of list methods, and what a dialect may add to it."""

from __future__ import annotations

import pytest

from localgcp.kit.errors import ApiError
from localgcp.kit.filters import Dialect, json_field, matching, parse

RECORDS = [
    {"name": "web", "state": "RUNNABLE", "enabled": True, "settings": {"labels": {"app": "Shop"}, "size": 3}},
    {"name": "job-1", "state": "FAILED", "enabled": False, "settings": {"size": 10}},
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["web", "job-1"]),
        ("name=web", ["web"]),
        ('name != "web"', ["job-1"]),
        ("settings.size > 3", ["job-1"]),
        ("settings.labels.app:*", ["web"]),
        ("NOT settings.labels.app:*", ["job-1"]),
        ("enabled=false OR state=RUNNABLE", ["web", "job-1"]),
        ("enabled=true state=FAILED", []),
        ("settings.labels.app:shop", []),
        ("absent=x", []),
    ],
)
def test_json_records(text: str, names: list[str]) -> None:
    assert [record["name"] for record in matching(RECORDS, text, json_field)] == names


def test_a_dialect_ignores_case_and_knows_regular_expressions() -> None:
    assert len(matching(RECORDS, "settings.labels.app:shop", json_field, Dialect(ignore_case=True))) == 1
    regular = Dialect(matches=True)
    assert matching(RECORDS, "name eq job-.*", json_field, regular) == RECORDS[1:]
    assert matching(RECORDS, 'name ne "job-.*"', json_field, regular) == RECORDS[:1]
    with pytest.raises(ApiError, match="invalid regular expression"):
        parse('name eq "("', regular)


def test_what_an_api_does_not_know_is_refused() -> None:
    with pytest.raises(ApiError, match="unknown field 'size'"):
        matching(RECORDS, "size=1", lambda record, field: {"name": "x"}[field])
    for text in ("name eq web", 'name = starts_with("w")'):
        with pytest.raises(ApiError, match="INVALID_ARGUMENT"):
            parse(text)

"""Field masks: what is named changes, nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from localgcp.kit.errors import ApiError
from localgcp.kit.masks import apply_mask
from localgcp.services.run.types import Service


def service(**fields: Any) -> Any:
    return Service(**fields)


def updated(target: Any, source: Any, *paths: str) -> Any:
    apply_mask(target, source, paths)
    return target


def test_scalars_messages_lists_and_maps_are_replaced() -> None:
    target = service(description="old", labels={"a": "1", "b": "2"}, traffic=[{"percent": 100}], name="n")
    source = service(description="new", labels={"c": "3"}, traffic=[{"percent": 50}, {"percent": 50}], name="other")
    result = updated(target, source, "description", "labels", "traffic")
    assert (result.description, dict(result.labels), len(result.traffic), result.name) == ("new", {"c": "3"}, 2, "n")


def test_what_the_source_lacks_is_cleared() -> None:
    target = service(description="old", template={"timeout": {"seconds": 5}, "service_account": "x"})
    result = updated(target, service(), "description", "template.timeout")
    assert result.description == ""
    assert not result.template.HasField("timeout")
    assert result.template.service_account == "x"


def test_camel_case_and_single_map_entries() -> None:
    target = service(labels={"a": "1", "b": "2"}, template={"session_affinity": False})
    source = service(labels={"a": "9"}, template={"session_affinity": True})
    result = updated(target, source, "template.sessionAffinity", "labels.a", "labels.b")
    assert result.template.session_affinity
    assert dict(result.labels) == {"a": "9"}


def test_star_is_everything() -> None:
    assert updated(service(description="old"), service(name="n"), "*") == service(name="n")


@pytest.mark.parametrize("path", ["nonsense", "template.nonsense", "traffic.percent", "description.x"])
def test_paths_that_do_not_exist(path: str) -> None:
    with pytest.raises(ApiError, match="Invalid update mask"):
        updated(service(), service(), path)

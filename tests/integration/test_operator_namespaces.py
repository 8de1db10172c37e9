"""AGUI_NAMESPACES with the rights that are shipped, and what the operator leaves on the objects that it handled."""

from __future__ import annotations

import json

import pytest

from agui_dev.testbed.releases import NAME, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_named_namespaces_are_served_with_the_shipped_rights_and_others_are_left_alone(system: System) -> None:
    place, other = system.case(), system.case()
    operator = system.operator(AGUI_NAMESPACES=place)
    try:
        system.api.apply(release(other, "v1"))
        system.api.apply(release(place, "v1"))
        found = system.settle(place, "Healthy", version="v1")
        assert "phase" not in system.api.get(other, NAME).get("status", {})
        assert json.loads(operator.http("/readyz")[1])["watching"] is True
        assert "forbidden" not in operator.log.lower()
        meta = found["metadata"]
        assert meta["finalizers"] == ["operator.agui.dev/finalizer"]
        kept = [key for key in meta.get("annotations") or {} if "operator.agui.dev" in key]
        assert kept == [], "nothing is stored on the object but the finalizer"
        system.api.delete(place, NAME)
        wait_for(lambda: not system.api.exists(place, NAME), "the end of the object")
    finally:
        operator.stop()
    assert system.api.get(other, NAME)["metadata"].get("finalizers") is None


def test_an_object_that_an_earlier_version_annotated_is_deleted_as_well(system: System) -> None:
    place = system.case()
    operator = system.operator()
    try:
        document = release(place, "v1")
        old = {"operator.agui.dev/last-handled-configuration": '{"spec":{}}\n'}
        document["metadata"]["annotations"] = old
        system.api.apply(document)
        found = system.settle(place, "Healthy", version="v1")
        assert found["metadata"]["annotations"] == old, "no write only to clean up"
        system.api.delete(place, NAME)
        wait_for(lambda: not system.api.exists(place, NAME), "the end of the object")
    finally:
        operator.stop()

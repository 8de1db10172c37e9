"""Objects of a newer CRD: unknown fields are carried and told; files with typos are still refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.fingerprint import fingerprint_of, procedure_of
from agui_operator.engine.deployment.scope import parse
from engine_fakes import sample

SPEC = sample("release-v2.yaml")


def newer() -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    spec["traffic"] = {"sticky": True}
    spec["backend"]["volumes"] = []
    spec["smoke"][0]["retries"] = 3
    spec["strategy"]["canary"]["steps"][0]["maxSkew"] = "1m"
    return spec


def test_fields_of_a_newer_version_are_ignored_and_named() -> None:
    spec, ignored = parse_stored(AgUiDeploymentSpec, newer())
    assert spec == parse_deployment(SPEC)
    assert sorted(ignored) == [
        "spec.backend.volumes",
        "spec.smoke[0].retries",
        "spec.strategy.canary.steps[0].maxSkew",
        "spec.traffic",
    ]


def test_they_change_neither_the_release_nor_how_it_is_tried() -> None:
    spec, _ = parse_stored(AgUiDeploymentSpec, newer())
    assert (fingerprint_of(spec), procedure_of(spec)) == (
        fingerprint_of(parse_deployment(SPEC)),
        procedure_of(parse_deployment(SPEC)),
    )
    found = parse(newer())
    assert found.error is None
    assert len(found.ignored) == 4


def test_a_file_with_an_unknown_field_is_refused_all_the_same() -> None:
    with pytest.raises(SpecInvalid, match=r"spec\.backend\.volumes: is not a known field"):
        parse_deployment(newer())


def test_what_is_wrong_besides_is_told_without_the_unknown_fields() -> None:
    spec = newer()
    del spec["backend"]["image"]
    with pytest.raises(SpecInvalid) as found:
        parse_stored(AgUiDeploymentSpec, spec)
    assert [error.path for error in found.value.errors] == ["spec.backend.image"]


def test_many_unknown_fields_are_ignored_too() -> None:
    spec = copy.deepcopy(SPEC) | {f"new{n}": n for n in range(120)}
    assert len(parse_stored(AgUiDeploymentSpec, spec)[1]) == 120


def test_what_is_no_spec_at_all_is_refused() -> None:
    for raw in (5, None, "x", {1: 2}):
        with pytest.raises(SpecInvalid):
            parse_stored(AgUiDeploymentSpec, raw)


def test_policies_are_read_in_the_same_way_and_a_deletion_policy_is_not() -> None:
    """What is unknown there may retain something."""
    policy = sample("policy.yaml")
    spec, ignored = parse_stored(AgUiPolicySpec, {**policy, "regionsDenied": ["x"]})
    assert (spec.namespaces, ignored) == (tuple(policy["namespaces"]), ("spec.regionsDenied",))
    unclear = parse({**SPEC, "deletionPolicy": {"backend": "Retain", "cache": "Retain"}})
    assert (unclear.error, unclear.deletion) == (None, None)
    assert "spec.deletionPolicy.cache" in str(unclear.deletion_error)

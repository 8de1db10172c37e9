"""What is understood of an object: parsed once, read field by field, and never a default for what can't be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Phase
from agui_operator.engine.deployment import scope as scopes
from agui_operator.engine.deployment.gc import GarbageCollector
from agui_operator.engine.deployment.scope import Location, Scope, Scopes
from agui_operator.gcp.transport.clients import Cloud
from engine_fakes import NOW, Bench, FakeDirectory, FakeKube, Json, sample
from world_model import FIRST

UNREADABLE = [{"name": "version", "http": {"path": "/version", "jsonPath": "$.x"}}]  # the CRD admits it


def built(spec: Json, *, directory: FakeDirectory | None = None, last: Location | None = None) -> Scope:
    return Scopes(directory or FakeDirectory(), lambda: NOW).build(FakeKube(spec).object, Memory(), last)


def test_a_generation_is_parsed_once_and_a_manifest_without_a_cluster_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = [0]
    parse = scopes.parse

    def counted(raw: Any) -> scopes.Parsed:
        count[0] += 1
        return parse(raw)

    monkeypatch.setattr(scopes, "parse", counted)
    builder, kube = Scopes(FakeDirectory(), lambda: NOW), FakeKube()
    first = builder.build(kube.object, Memory())
    assert builder.build(kube.object, Memory(phase=Phase.HEALTHY)).parsed is first.parsed
    assert count == [1]
    kube.edit(version="2.0.0")
    assert builder.build(kube.object, Memory()).spec != first.spec
    assert count == [2]
    manifest = {"metadata": {"name": "concierge"}, "spec": sample("release-v2.yaml")}
    assert [builder.build(manifest, Memory()).namespace for _ in range(2)] == ["default", "default"]
    assert count == [4]


def test_what_is_kept_of_specs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "_PARSED_MAX", 2)
    builder, kube = Scopes(FakeDirectory(), lambda: NOW), FakeKube()
    for _ in range(5):
        builder.build(kube.object, Memory())
        kube.edit()
    assert len(builder._parsed) == 2


def test_while_one_field_is_invalid_the_others_are_read_by_themselves() -> None:
    spec = sample("release-v2.yaml") | {
        "smoke": UNREADABLE,
        "deletionPolicy": {"backend": "Retain"},
        "historyLimit": 20,
    }
    scope = built(spec)
    assert scope.spec is None
    assert scope.parsed.error is not None
    assert scope.parsed.deletion is not None
    assert (scope.parsed.deletion.backend, scope.parsed.deletion.alerts) == ("Retain", "Delete")
    assert (scope.environment is not None, scope.location is not None) == (True, True)
    assert scope.parsed.history_limit is None, "the history is not shortened to a default"
    assert scope.parsed.fingerprint is None


@pytest.mark.parametrize("policy", [{"backend": "Keep"}, {"backends": "Retain"}, "Retain", None])
def test_a_deletion_policy_that_can_not_be_read_is_none_and_its_error_names_the_field(policy: Any) -> None:
    parsed = scopes.parse(sample("release-v2.yaml") | {"deletionPolicy": policy})
    assert parsed.deletion is None
    assert parsed.deletion_error is not None
    assert parsed.deletion_error.startswith("spec.deletionPolicy")


@pytest.mark.parametrize("raw", [None, "text", {}, {"environmentRef": "demo"}, {"environmentRef": {"name": 1}}])
def test_whatever_a_spec_is_it_is_understood_without_an_exception(raw: Any) -> None:
    body = FakeKube().object | {"spec": raw}
    scope = Scopes(FakeDirectory(), lambda: NOW).build(body, Memory())
    assert (scope.spec, scope.environment, scope.location) == (None, None, None)
    assert scope.environment_error == "spec.environmentRef.name can't be read"
    with pytest.raises(LookupError, match="demo/concierge"):
        _ = scope.names


def test_a_missing_environment_is_named_and_the_last_known_place_stays() -> None:
    known = built(sample("release-v2.yaml"))
    scope = built(sample("release-v2.yaml"), directory=FakeDirectory(spec=None), last=known.location)
    assert scope.environment is None
    assert scope.environment_error == "AgUiEnvironment demo/demo does not exist"
    assert scope.names == known.names


async def test_a_history_is_not_shortened_while_the_spec_can_not_be_read() -> None:
    """A rollout that ends while the spec is invalid used to cut the history to ten entries."""
    bench = Bench(kube=FakeKube(sample("release-v2.yaml") | {"historyLimit": 20}))
    assert await bench.settle() == "Healthy"
    newest = bench.kube.status["history"][0]
    others = [newest | {"release": newest["release"] | {"id": f"{n:010d}"}} for n in range(14)]
    bench.kube.object["status"]["history"] = [newest, *others]
    bench.restart()
    canary = {"steps": [{"setWeight": 10}, {"pause": {}}], "analysis": None}
    bench.kube.edit(version="2.0.0", backend={"timeoutSeconds": 77}, strategy={"canary": canary})
    assert await bench.settle() == "Paused"
    bench.kube.edit(smoke=UNREADABLE)
    await bench.settle()
    assert bench.kube.condition("SpecAccepted")["reason"] == "InvalidSpec"
    assert len(bench.kube.status["history"]) == 16


async def test_nothing_is_collected_while_the_windows_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = GarbageCollector(cast(Cloud, None), 0.0, lambda: NOW)
    started: list[str] = []

    async def go(scope: Scope, *_: Any) -> None:
        started.append(scope.uid)

    monkeypatch.setattr(collector, "_go", go)
    bench = Bench()
    rest = Memory(phase=Phase.HEALTHY, stable=FIRST)
    unreadable = replace(built(sample("release-v2.yaml") | {"smoke": UNREADABLE}), memory=rest)
    collector.consider(unreadable, bench.cache)
    await collector.wait()
    assert started == []
    collector.consider(replace(built(sample("release-v2.yaml")), memory=rest), bench.cache)
    await collector.wait()
    assert started == ["uid-1"]
    collector.forget("uid-1")

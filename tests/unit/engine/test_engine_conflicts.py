"""Hosts and databases that two deployments want: told by lint and plan, indexed for the operator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from agui_operator.__main__ import main
from agui_operator.core.names import owner_of
from agui_operator.engine.deployment.preview import sort
from agui_operator.handlers.directory import WatchedDirectory
from engine_fakes import SAMPLES, sample

Json = dict[str, Any]
ENVIRONMENT = sample("environment.yaml")


def deployment(name: str, created: str = "", namespace: str = "demo", **meta: Any) -> Json:
    document: Json = yaml.safe_load((SAMPLES / "release-v2.yaml").read_text())
    more = {"name": name, "namespace": namespace, **({"creationTimestamp": created} if created else {}), **meta}
    return {**document, "metadata": {**document["metadata"], **more}}


def written(folder: Path, *documents: Json) -> str:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_lint_tells_of_two_deployments_that_want_one_host(tmp_path: Path) -> None:
    environment = yaml.safe_load((SAMPLES / "environment.yaml").read_text())
    both = written(tmp_path, environment, deployment("one"), deployment("two"))
    result = CliRunner().invoke(main, ["lint", both])
    assert result.exit_code == 1
    assert "demo/two: host" in result.output
    assert "belongs to AgUiDeployment demo/one" in result.output
    assert "migrated by AgUiDeployment demo/one" in result.output
    assert "demo/one: " not in result.output
    alone = CliRunner().invoke(main, ["lint", written(tmp_path, environment, deployment("one"))])
    assert alone.exit_code == 0, alone.output
    unrelated = written(tmp_path, deployment("one"), deployment("two"))
    assert CliRunner().invoke(main, ["lint", unrelated]).exit_code == 0, "without the environment nothing is known"


def test_plan_knows_the_conflicts_of_its_documents() -> None:
    environment = yaml.safe_load((SAMPLES / "environment.yaml").read_text())
    known = sort([environment, deployment("one"), deployment("two")])
    assert [len(known.conflicts(d["metadata"]["uid"])) for d in known.deployments] == [0, 2]
    assert known.conflicts("unknown") == ()
    assert known.holder("any") is None


@pytest.fixture
def directory() -> WatchedDirectory:
    found = WatchedDirectory("cluster")
    found.put_environment("demo", "demo", ENVIRONMENT)
    found.references.environment_changed("demo", "demo")
    found.references.put(deployment("younger", "2026-01-02T00:00:00Z", uid="u2"))
    found.references.put(deployment("older", "2026-01-01T00:00:00Z", uid="u1"))
    return found


def test_the_end_of_a_conflict_wakes_who_waited(directory: WatchedDirectory) -> None:
    assert directory.conflicts("u1") == ()
    assert [b.reason for b in directory.conflicts("u2")] == ["HostConflict", "DatabaseConflict"]
    assert directory.conflicts("unknown") == ()
    assert directory.references.put(deployment("older", "2026-01-01T00:00:00Z", uid="u1")) == [], "nothing is new"
    assert directory.references.drop("u1") == ["u2"]
    assert directory.conflicts("u2") == ()


def test_an_environment_that_gets_another_domain_ends_a_conflict(directory: WatchedDirectory) -> None:
    other = copy.deepcopy(ENVIRONMENT)
    directory.put_environment("demo", "second", other)
    spec = deployment("older", "2026-01-01T00:00:00Z", uid="u1")
    spec["spec"] = {**spec["spec"], "environmentRef": {"name": "second"}}
    directory.references.put(spec)
    assert len(directory.conflicts("u2")) == 2, "two environments, one host"
    other["edge"]["domain"] = "other.example"
    other["database"]["databases"] = ["own"]
    directory.put_environment("demo", "second", other)
    assert directory.references.environment_changed("demo", "second") == ["u1", "u2"]
    assert directory.conflicts("u2") == ()


def test_who_needs_an_environment_and_whom_a_label_means(directory: WatchedDirectory) -> None:
    assert directory.users_of("demo", "demo") == ["older", "younger"]
    leaving = deployment("older", "2026-01-01T00:00:00Z", uid="u1", deletionTimestamp="2026-01-03T00:00:00Z")
    directory.references.put(leaving)
    assert directory.users_of("demo", "demo") == ["younger"]
    assert directory.holder("u1") == directory.holder(owner_of("cluster", "demo", "older")) == "demo/older"
    directory.references.drop("u1")
    assert directory.holder("u1") is None
    assert directory.references.drop("u1") == []

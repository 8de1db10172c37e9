"""What is true of every kind, held by a walk over the registry; and the files that a new kind needs."""

from __future__ import annotations

import dataclasses
import filecmp
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agui_operator
from agui_operator.core.errors import NotOwned
from agui_operator.core.provisioning.graph import Site
from agui_operator.core.provisioning.plan import Diff
from agui_operator.gcp import kinds as package
from agui_operator.gcp.kinds.contract import Kind, View, check_owner
from agui_operator.gcp.kinds.registry import KINDS, RELEASE_PARTS

ROOT = Path(agui_operator.__file__).parent
SITE = Site("demo", "us-central1", "uid-1")
ASYNC = ("observe", "create", "update", "delete", "owned")
BY_NAME = [pytest.param(kind, id=name) for name, kind in KINDS.items()]


@pytest.mark.parametrize("kind", BY_NAME)
def test_a_kind_keeps_the_contract(kind: Kind[Any]) -> None:
    desired = kind.desired
    assert kind.name == desired.__name__
    assert dataclasses.is_dataclass(desired)
    assert desired.__dataclass_params__.frozen  # type: ignore[attr-defined]
    fields = {f.name: f.default for f in dataclasses.fields(desired)}
    assert set(fields.values()) <= {None, dataclasses.MISSING}, (
        "a field identifies the resource, or None is not compared"
    )
    assert kind.immutable <= {name for name, default in fields.items() if default is None}
    for name in ASYNC:
        function = getattr(type(kind), name)
        assert inspect.iscoroutinefunction(function), f"{name} acts or looks, so it is async"
        assert getattr(Kind, name) is not function, f"{name} is only the contract's"
        assert list(inspect.signature(function).parameters)[:3] == ["self", "cloud", "site"]
    assert not inspect.iscoroutinefunction(type(kind).diff)


@pytest.mark.parametrize("kind", BY_NAME)
def test_a_difference_names_each_field_once(kind: Kind[Any]) -> None:
    identity = [f.name for f in dataclasses.fields(kind.desired) if f.default is not None]
    others = [f.name for f in dataclasses.fields(kind.desired) if f.default is None]
    want = kind.desired(**dict.fromkeys(identity, "x"), **dict.fromkeys(others, "wanted"))
    have = View(dict.fromkeys(others, "other"))
    mutable = tuple(name for name in others if name not in kind.immutable)
    assert kind.diff(want, have) == Diff(mutable, tuple(name for name in others if name in kind.immutable))
    assert kind.diff(kind.desired(**dict.fromkeys(identity, "x")), have) == Diff(), (
        "what is not desired is not compared"
    )
    assert kind.diff(want, View({})) == Diff(), "what was not read is not compared"


@pytest.mark.parametrize(("owner", "words"), [("uid-2", "belongs to uid-2"), ("", "has no label agui-owner")])
@pytest.mark.parametrize("kind", BY_NAME)
def test_what_is_not_ours_is_named(kind: Kind[Any], owner: str, words: str) -> None:
    want = kind.desired(**{f.name: "thing" for f in dataclasses.fields(kind.desired) if f.default is not None})
    with pytest.raises(NotOwned, match=f"^{kind.name} .*thing.* {words}; delete it, or choose another name"):
        check_owner(kind, SITE, want, View({}, owner=owner))
    for ours in (None, SITE.owner):
        check_owner(kind, SITE, want, View({}, owner=ours))


@pytest.mark.parametrize("module", [pytest.param(module, id=name) for name, module in RELEASE_PARTS.items()])
def test_a_part_of_a_release_looks_applies_and_lists_by_owner(module: Any) -> None:
    for name in ("observe", "apply", "owned"):
        function = getattr(module, name)
        assert inspect.iscoroutinefunction(function), name
        assert next(iter(inspect.signature(function).parameters)) == "cloud"
        assert function.__doc__, f"{name} says what it does"


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def test_every_kind_and_every_part_is_in_the_registry() -> None:
    kinds = [module.KIND for module in modules() if hasattr(module, "KIND")]
    assert {kind.name for kind in kinds} == set(KINDS)
    assert len(kinds) == len(KINDS)
    parts = [module for module in modules() if hasattr(module, "apply")]
    assert {part.__name__ for part in parts} == {part.__name__ for part in RELEASE_PARTS.values()}


def test_nothing_but_the_registry_knows_the_kinds_one_by_one() -> None:
    """A kind is named in its module; in the registry; and where an environment's resources are listed."""
    allowed = {"gcp/kinds/registry.py", "core/provisioning/resources.py"}
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.rglob("*.py")}
    for kind in KINDS.values():
        module = Path(inspect.getfile(type(kind))).relative_to(ROOT).as_posix()
        dotted = module.removesuffix(".py").replace("/", ".")
        known = re.compile(rf'"{kind.name}"|\b{re.escape(dotted)}\b|\bimport [^\n]*\b{type(kind).__name__}\b')
        named = {path for path, text in sources.items() if known.search(text)}
        assert named <= {module, *allowed}, f"{kind.name} is known in {sorted(named - {module} - allowed)}"


SHELF = """
from dataclasses import dataclass
from agui_operator.gcp.kinds.contract import Kind, View
from agui_operator.gcp.transport.outcome import Outcome

THERE = {}

@dataclass(frozen=True, slots=True)
class Shelf:
    name: str
    height: int | None = None

class Shelves(Kind[Shelf]):
    name = "Shelf"
    desired = Shelf
    def full_name(self, site, want): return f"shelves/{want.name}"
    async def observe(self, cloud, site, want):
        found = THERE.get(want.name)
        return None if found is None else View({"height": found}, {"name": want.name}, owner=site.owner)
    async def create(self, cloud, site, want):
        THERE[want.name] = want.height
        return Outcome()
    async def update(self, cloud, site, want, have):
        THERE[want.name] = want.height
        return Outcome()
    async def delete(self, cloud, site, want):
        THERE.pop(want.name, None)
        return Outcome()
    async def owned(self, cloud, site): return [Shelf(name) for name in THERE]

KIND = Shelves()
"""
USE = """
import asyncio
from agui_operator.core.provisioning.graph import Graph, Node, Site
from agui_operator.core.provisioning.status import rows, summarize
from agui_operator.engine.environment.provision import Provisioner
from agui_operator.gcp.kinds.storage.shelf import THERE

async def main():
    THERE["low"] = 1
    low = Node("low", "Shelf", {"name": "low", "height": 2})
    high = Node("high", "Shelf", {"name": "high", "height": 3}, ("low",))
    graph = Graph(Site("p", "r", "me"), (high, low))
    provisioner = Provisioner(None)
    assert summarize(rows(graph, await provisioner.apply(graph))).ready is True
    print(THERE)
    await provisioner.delete(graph)
    print(THERE)

asyncio.run(main())
"""


def test_a_new_kind_needs_two_files(tmp_path: Path) -> None:
    """Its module and its entry in the registry: a graph with it is applied, corrected and deleted."""
    copy = tmp_path / "agui_operator"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "gcp/kinds/storage/shelf.py").write_text(SHELF)
    registry = copy / "gcp/kinds/registry.py"
    text = registry.read_text()
    text = re.sub(r"(kinds\.storage import .*)", r"\1, shelf", text)
    registry.write_text(text.replace("    bucket.KIND,\n", "    bucket.KIND,\n    shelf.KIND,\n"))
    assert sorted(changed(ROOT, copy)) == ["gcp/kinds/registry.py", "gcp/kinds/storage/shelf.py"]
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'low': 2, 'high': 3}", "{}"]


def changed(before: Path, after: Path) -> Iterator[str]:
    for path in after.rglob("*.py"):
        old = before / path.relative_to(after)
        if not old.exists() or not filecmp.cmp(old, path, shallow=False):
            yield path.relative_to(after).as_posix()

"""Every case of the table of what the world does has a test that exists and, where possible, uses real parts."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from agui_dev.paths import ROOT
from world_table import CASES, USE, WORLD, Case

REAL = ("integration", "faults", "app", "contract", "e2e", "attack")


@cache
def modules() -> dict[str, Path]:
    """Test modules by file name, which is unique."""
    return {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


@cache
def names_in(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    if file.startswith("frontend/"):
        path = ROOT / file
        return path.is_file() and name in path.read_text()
    return file in modules() and name in names_in(modules()[file])


def is_real(test: str) -> bool:
    """True for a test that has processes, an API server, a database or a browser below it."""
    file = test.partition("::")[0]
    if file.startswith("frontend/"):
        return file.startswith("frontend/e2e/")
    return modules()[file].parent.name in REAL


@pytest.mark.parametrize("case", CASES, ids=[case.number for case in CASES])
def test_each_case_is_replayed_by_tests_that_exist(case: Case) -> None:
    assert case.tests, f"{case.number} has no test: {case.happens}"
    assert [test for test in case.tests if not exists(test)] == []
    on_real_parts = [test for test in case.tests if is_real(test)]
    assert bool(on_real_parts) != bool(case.only_model), f"{case.number}: {case.happens}"


def test_the_table_is_complete() -> None:
    assert [case.number for case in WORLD] == [f"W{number}" for number in range(1, 43)]
    assert [case.number for case in USE] == [f"F{number}" for number in range(1, 31)]
    assert all(case.happens and case.expected for case in CASES)


def test_a_test_that_is_missing_is_found_missing() -> None:
    assert not exists("test_world_table.py::test_nothing_of_this_name")
    assert not exists("test_no_such_file.py::test_the_table_is_complete")
    assert not exists("frontend/e2e/limits.spec.ts::no such title")
    assert exists("test_world_table.py::test_the_table_is_complete")

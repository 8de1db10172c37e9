"""Fixtures that all tests may ask for live in tests/support, one plugin per thing that they start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest_plugins = [
    "controlplane_fixture",
    "postgres_fixture",
    "app_fixture",
    "cloud_fixture",
    "system_fixture",
    "stage_fixture",
]


@pytest.fixture(scope="module", autouse=True)
def measured_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage does not begin in the processes that a module marked `no_cover` starts."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("no_cover") is not None:
            for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
                patch.delenv(name)
        yield

"""A cloud whose front ends learn of a change seconds after its operation is done, one after the other, as on Google."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.releases import AT_ONCE, full_release
from agui_dev.testbed.system import System, running_system

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SLOW = ("--url-map-propagation-seconds", "5", "--traffic-propagation-seconds", "2")
CHECKS: list[dict[str, Any]] = [
    {"name": "assets", "assets": {"integrity": "sha384", "runtimeUrl": True}},
    {"name": "version", "http": {"path": "/version"}},
]


@pytest.fixture(scope="module")
def system(control_plane: ControlPlane) -> Iterator[System]:
    with running_system(control_plane, "--lro-seconds", "0", "--metric-period-seconds", "0.25", *SLOW) as running:
        running.operator(AGUI_PROPAGATION_SECONDS="60")
        yield running


def test_a_good_release_is_promoted_although_its_page_arrives_late(system: System) -> None:
    place = system.case()
    for name in ("v1", "v2"):
        system.api.apply(full_release(place, name, name, migrations=None, strategy=AT_ONCE, smoke=CHECKS))
        found = system.settle(place, "Healthy", version=name)
        assert found["status"]["stable"]["version"] == name

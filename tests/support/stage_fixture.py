"""The stage for tests in a browser: one a session, because it takes a quarter of a minute to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.demo_stage import DemoStage, missing_browser, running_demo_stage


@pytest.fixture(scope="session")
def demo_stage(control_plane: ControlPlane) -> Iterator[DemoStage]:
    """The running stage, with nothing released yet."""
    if reason := missing_browser():
        pytest.skip(reason)
    with running_demo_stage(control_plane) as stage:
        yield stage

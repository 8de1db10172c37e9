"""The stage for tests in a browser: one a session, because it takes a quarter of a minute to start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.demo_stage import DemoStage, missing_browser


@pytest.fixture(scope="session")
def demo_stage(control_plane: ControlPlane) -> Iterator[DemoStage]:
    """The running stage, with nothing released yet."""
    if reason := missing_browser():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="agui-stage-", ignore_cleanup_errors=True) as folder:
        stage = DemoStage(control_plane, Path(folder))
        try:
            yield stage.start()
        finally:
            stage.stop()

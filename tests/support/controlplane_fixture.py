"""A real Kubernetes control plane for tests: one a session, a namespace of its own for each test."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from agui_dev.controlplane import ControlPlane, KubectlFailed


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane (or the cluster that AGUI_KUBECONFIG names). Fails, and says what to run, where none is
    there: tests that silently skip prove nothing."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The name of an empty namespace that only this test uses; where a controller manager runs, with its `default`
    ServiceAccount. Its deletion is asked for, not waited for."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    control_plane.kubectl("create", "namespace", name)
    if control_plane.has_controller_manager:
        _wait_for_default_account(control_plane, name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def _wait_for_default_account(control_plane: ControlPlane, namespace: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            control_plane.kubectl("get", "serviceaccount", "default", f"--namespace={namespace}")
            return
        except KubectlFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)

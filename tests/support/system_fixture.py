"""The whole system for tests: one `System` a session, an operator a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.ports import free_port
from agui_dev.testbed.fork_server import ForkServer, shared_forks
from agui_dev.testbed.operator_process import OPERATOR_IMPORTS, OperatorProcess
from agui_dev.testbed.system import System, running_system


@pytest.fixture(scope="session")
def operator_forks() -> ForkServer:
    """Starts operators in a fraction of the time."""
    return shared_forks(OPERATOR_IMPORTS)


@pytest.fixture(scope="session")
def system(control_plane: ControlPlane, operator_forks: ForkServer) -> Iterator[System]:
    """The whole system without an operator; operations of the cloud are done in the first reply where they can be."""
    options = ("--lro-seconds", "0", "--metric-period-seconds", "0.25")
    with running_system(control_plane, *options, forks=operator_forks) as running:
        yield running


@pytest.fixture(scope="module")
def operator(system: System) -> Iterator[OperatorProcess]:
    """The operator of a module's tests. It holds the lease: a module that needs its own does not ask for this one."""
    running = system.operator()
    yield running
    system.retire(running)


@pytest.fixture(scope="module")
def dashboard_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def dashboard_operator(system: System, dashboard_port: int) -> Iterator[OperatorProcess]:
    """As `operator`, with a dashboard."""
    running = system.operator(AGUI_DASHBOARD_PORT=str(dashboard_port))
    yield running
    system.retire(running)

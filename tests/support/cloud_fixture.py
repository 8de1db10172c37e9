"""A local Google Cloud for tests.

`local_cloud` is shared by a test module; `fresh_cloud` empties it before each test that asks for it. `cloud` is the
operator's connection to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from agui_dev.testbed.fork_server import ForkServer, shared_forks
from agui_dev.testbed.local_cloud import LOCALGCP_IMPORTS, LocalCloud, running_local_cloud

if TYPE_CHECKING:
    from agui_operator.gcp.transport.clients import Cloud


@pytest.fixture(scope="session")
def cloud_forks() -> ForkServer:
    """Starts local clouds in a fraction of the time."""
    return shared_forks(LOCALGCP_IMPORTS)


@pytest.fixture(scope="module")
def local_cloud(request: pytest.FixtureRequest, cloud_forks: ForkServer) -> Iterator[LocalCloud]:
    """One local cloud per test module; a module's `LOCALGCP_OPTIONS` (tuple of words) are added to its command line."""
    options = ("--lro-seconds", "0.1", *getattr(request.module, "LOCALGCP_OPTIONS", ()))
    with running_local_cloud(*options, forks=cloud_forks) as cloud:
        yield cloud


@pytest.fixture
def fresh_cloud(local_cloud: LocalCloud) -> LocalCloud:
    """The module's local cloud, emptied."""
    local_cloud.reset()
    return local_cloud


@pytest.fixture
async def cloud(fresh_cloud: LocalCloud) -> AsyncIterator[Cloud]:
    """The operator's clients of the emptied local cloud."""
    from agui_operator.gcp.transport.clients import CloudSettings, connect

    connected = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    yield connected
    await connected.close()

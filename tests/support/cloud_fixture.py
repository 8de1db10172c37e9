"""A local Google Cloud for tests.

`local_cloud` is shared by a test module; `fresh_cloud` empties it before each test that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agui_dev.testbed.local_cloud import LocalCloud, running_local_cloud


@pytest.fixture(scope="module")
def local_cloud(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """One local cloud per test module; a module's `LOCALGCP_OPTIONS` (tuple of words) are added to its command line."""
    with running_local_cloud("--lro-seconds", "0.1", *getattr(request.module, "LOCALGCP_OPTIONS", ())) as cloud:
        yield cloud


@pytest.fixture
def fresh_cloud(local_cloud: LocalCloud) -> LocalCloud:
    """The module's local cloud, emptied."""
    local_cloud.reset()
    return local_cloud

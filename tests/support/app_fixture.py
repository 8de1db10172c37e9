"""Instances of the application for tests, on databases of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agui_dev.testbed.app_instance import APP_IMPORTS, AppInstance, AppStarter, seeded_database
from agui_dev.testbed.fork_server import ForkServer, shared_forks
from agui_dev.testbed.postgres import PostgresServer


@pytest.fixture(scope="session")
def app_forks() -> ForkServer:
    """Starts instances in a fraction of the time: for tests of what the application does, not of how it starts."""
    return shared_forks(APP_IMPORTS)


@pytest.fixture
def start_app(tmp_path: Path, app_forks: ForkServer) -> Iterator[AppStarter]:
    """Starts instances for one test."""
    starter = AppStarter(tmp_path, app_forks)
    try:
        yield starter
    finally:
        starter.stop_all()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[AppStarter]:
    """Starts instances for one test as in production, each from nothing."""
    starter = AppStarter(tmp_path)
    try:
        yield starter
    finally:
        starter.stop_all()


@pytest.fixture
def seeded_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a migrated and seeded database that only this test uses."""
    url = seeded_database(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def app_database(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated and seeded database that the tests of one file share."""
    url = seeded_database(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def app_instances(
    app_database: str, app_forks: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[AppInstance]]:
    """Two ready instances on `app_database`, shared by the tests of one file."""
    starter = AppStarter(tmp_path_factory.mktemp("app"), app_forks)
    try:
        both = [starter(app_database, ready=False, K_REVISION=f"rev-{name}", AGUI_RELEASE="r1") for name in "ab"]
        for instance in both:
            instance.wait()
        yield both
    finally:
        starter.stop_all()

"""What earlier releases left behind goes when nobody can need it any more, and not before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, NAME, full_release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
HISTORY = 10  # entries of .status.history


@pytest.fixture(scope="module")
def tidy_operator(system: System) -> Iterator[OperatorProcess]:
    """An operator that looks for what may go all the time."""
    worker = system.operator(AGUI_RETENTION_SECONDS="0.5", AGUI_RESYNC_SECONDS="1")
    yield worker
    system.retire(worker)


def released(system: System, place: str, number: int, page: str, window: str) -> Json:
    """The next release, when it is stable; each has a backend of its own."""
    document = full_release(
        place, "v1", page, version=f"1.0.{number}", migrations=None, strategy=AT_ONCE, rollback={"window": window}
    )
    document["spec"]["frontend"]["skewWindow"] = window
    document["spec"]["backend"]["env"] = [{"name": "NUMBER", "value": str(number)}]
    system.api.apply(document)
    return system.settle(place, "Healthy", version=f"1.0.{number}")


def stored(system: System, place: str) -> set[str]:
    return {item["name"] for item in system.gcp.items(f"/storage/v1/b/{place}-assets/o", "items")}


def revisions(system: System, place: str) -> set[str]:
    path = f"/v2/projects/demo/locations/us-central1/services/{service_of(place)}/revisions"
    return {item["labels"]["agui-release"] for item in system.gcp.items(path, "revisions")}


def asked(page: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(f"releases/{page}/")}


def test_the_forgotten_go_and_what_is_kept_stays_whole(system: System, tidy_operator: OperatorProcess) -> None:
    place = system.case()
    first = released(system, place, 0, "v1", "1s")["status"]["stable"]
    own = {name for name in stored(system, place) if name.startswith("assets/")}
    for number in range(1, HISTORY + 1):
        released(system, place, number, "v2", "1s")
        assert asked(first["frontend"], stored(system, place)), "the history names it still"
    released(system, place, HISTORY + 1, "v2", "1s")
    wait_for(lambda: not asked(first["frontend"], stored(system, place)), "the first page is gone")
    wait_for(lambda: first["id"] not in revisions(system, place), "the first revision is gone")
    status = system.api.get(place, NAME)["status"]
    left = stored(system, place)
    assert own - left, "files that only the first page needed are gone"
    assert asked(status["stable"]["frontend"], left)
    assert not [name for name in left if "tidying" in name]
    kept = {entry["release"]["id"] for entry in status["history"]}
    assert len(kept) == HISTORY
    assert kept <= revisions(system, place)
    code, _, page = system.get(place, "/")
    assert code == 200
    for name in left:
        if name.startswith("assets/"):
            assert system.get(place, f"/{name}")[0] == 200
    assert "/assets/" in page


def test_a_release_within_its_window_keeps_everything(system: System, tidy_operator: OperatorProcess) -> None:
    place = system.case()
    first = released(system, place, 0, "v1", "1h")["status"]["stable"]
    before = stored(system, place)
    for number in range(1, HISTORY + 3):
        released(system, place, number, "v2", "1h")
    since = system.position
    wait_for(lambda: len(system.calls(since, writes=False)) > 4, "it has looked again")
    assert before <= stored(system, place)
    assert first["id"] in revisions(system, place)

"""A candidate's page: met by requests that name the release while it is checked, by nobody else, and not afterwards."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from agui_dev.testbed.api_proxy import is_status_write
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.releases import AT_ONCE, HELD, NAME, full_release
from agui_dev.testbed.system import System

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

ASSETS_CHECK = {"name": "assets", "assets": {"integrity": "sha384", "runtimeUrl": True}}


def page(system: System, place: str, release: str | None = None) -> tuple[int, str]:
    """Status and html of `/` through the public edge, for a request that names a release or does not."""
    port = system.gcp.edge.rpartition(":")[2]
    headers = {"Host": system.origin(place).removeprefix("http://")}
    headers |= {"x-agui-release": release} if release else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, ""


def matcher(system: System, place: str) -> str:
    return str(Belongings.of(system.gcp, place, system.owner(place)).matcher)


@pytest.mark.parametrize("end", ["promote", "abort"])
def test_a_candidate_is_met_by_its_name_until_the_rollout_ends(system: System, end: str) -> None:
    place = system.case()
    stable = full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE, smoke=[ASSETS_CHECK])
    system.api.apply(stable)
    system.settle(place, "Healthy", version="v1")
    before = system.position
    strategy = {"canary": HELD, "progressDeadline": "60s"}
    system.api.apply(full_release(place, "v2", "v2", migrations=None, strategy=strategy, smoke=[ASSETS_CHECK]))
    paused = system.reaches(place, "Paused")
    candidate = paused["status"]["release"]["id"]
    shown, public = page(system, place, candidate), page(system, place)
    assert (shown[0], public[0]) == (200, 200)
    assert "1.1.0" in shown[1], "a request that names the candidate meets another page"
    assert "1.0.0" in public[1], "users met the page of a candidate"
    assert page(system, place, "0123456789") == public, "another release's name is no way in"
    request = "promote-full" if end == "promote" else "abort"
    system.api.merge(place, NAME, {"metadata": {"annotations": {f"agui.dev/{request}": "true"}}})
    system.settle(place, "Healthy" if end == "promote" else "RolledBack", version="v2")
    patches = [call for call in system.calls(before) if call["method"] == "compute.urlMaps.patch"]
    assert len(patches) == 2, "one write shows it, one write ends it"
    assert page(system, place, candidate) == page(system, place)
    assert ("1.1.0" if end == "promote" else "1.0.0") in page(system, place)[1]
    assert "x-agui-release" not in matcher(system, place)


def test_a_candidate_whose_page_is_gone_is_not_promoted(system: System) -> None:
    """Somebody deletes it before it is checked: the check goes where users will go and fails; they never notice."""
    place = system.case()
    check = {**ASSETS_CHECK, "attempts": 1, "timeout": "2s"}
    system.api.apply(full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE, smoke=[check]))
    system.settle(place, "Healthy", version="v1")
    bucket = f"/storage/v1/b/{place}-assets/o/"
    with system.proxy.held(is_status_write(place, "Smoking")):
        document = full_release(place, "v2", "v2", migrations=None, strategy=AT_ONCE, smoke=[check])
        system.api.apply(document)
        staging = system.reaches(place, "Staging")
        folder = staging["status"]["release"]["frontend"]
        system.cloud(f"{bucket}releases%2F{folder}%2Findex.html", method="DELETE")
    system.proxy.clear()
    found = system.settle(place, "RolledBack", version="v2")
    assert found["status"]["rejected"]["reason"] == "SmokeFailed"
    assert "1.0.0" in page(system, place)[1]
    assert "x-agui-release" not in matcher(system, place)

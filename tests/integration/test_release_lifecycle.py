"""Releases from the first to the one that is rolled back, on a real API server, by the operator as it is deployed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from agui_dev.testbed.api_proxy import is_status_write
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.load import load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, HELD, NAME, SECRET_VALUE, full_release, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]


@pytest.fixture
def place(system: System) -> str:
    return system.case()


def test_the_first_release_becomes_public_only_when_it_has_passed_its_checks(system: System, place: str) -> None:
    with system.proxy.held(is_status_write(place, "Smoking")):
        system.api.apply(full_release(place, "v1", "v1"))
        system.reaches(place, "Staging")
        assert system.get(place, "/api/orders/1")[0] != 200, "the load balancer knew the release before it was checked"
    system.proxy.clear()
    found = system.settle(place, "Healthy", version="v1")
    status, revision, _ = system.get(place, "/api/orders/1")
    assert (status, revision) == (200, f"{service_of(place)}-{found['status']['stable']['id']}")
    page = system.get(place, "/")
    assert page[0] == 200
    assert "1.0.0" in page[2]
    for kind in (
        "Ready",
        "Promoted",
        "Migrated",
        "AssetsPublished",
        "SmokePassed",
        "AlertsConfigured",
    ):
        assert condition(found, kind)["status"] == "True", kind
    assert condition(found, "RollbackReady")["reason"] == "NoEarlierRelease"
    assert condition(found, "RollbackReady")["status"] == "False", "no release was stable before it"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["status"]["url"] == system.origin(place)


def test_a_canary_goes_up_step_by_step_and_users_notice_nothing(system: System, place: str) -> None:
    system.api.apply(full_release(place, "v1", "v1", migrations=None))
    system.settle(place, "Healthy", version="v1")
    with load(system, place) as answers:
        system.api.apply(full_release(place, "v2", "v2"))
        found = system.settle(place, "Healthy", version="v2")
    assert {answer.status for answer in answers} == {200}
    assert len({answer.revision for answer in answers}) == 2, "the canary got no traffic before its promotion"
    assert [e["outcome"] for e in found["status"]["history"]] == ["Promoted", "Promoted"]
    assert "1.1.0" in system.get(place, "/")[2]
    have = Belongings.of(system.gcp, place, system.owner(place))
    assert len(have.backups) == 1
    assert list(have.jobs.values()) == [1]
    assert {p["displayName"] for p in have.alerts}
    reasons = [event["reason"] for event in system.api.events(place)]
    assert reasons.count("Healthy") == 2, "one Event per fact"


def test_a_release_that_fails_its_smoke_never_meets_a_user(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    stable = system.settle(place, "Healthy", version="v1")["status"]["stable"]
    with load(system, place) as answers:
        system.api.apply(release(place, "broken"))
        found = system.settle(place, "RolledBack", version="broken")
    status = found["status"]
    assert {answer.revision for answer in answers} == {f"{service_of(place)}-{stable['id']}"}
    assert status["stable"] == stable
    assert status["rejected"]["reason"] == "SmokeFailed"
    smoke = condition(found, "SmokePassed")
    assert smoke["status"] == "False"
    assert 'Check "agent"' in smoke["message"]
    assert condition(found, "Ready")["reason"] == "SmokeFailed"
    assert condition(found, "Stalled")["status"] == "True"
    assert "serves all traffic" in status["message"]
    traffic = Belongings.of(system.gcp, place, system.owner(place)).service
    assert traffic is not None
    assert [t.get("percent", 0) for t in traffic["traffic"] if t.get("percent")] == [100]


def test_a_release_that_degrades_is_taken_back_by_the_analysis(system: System, place: str) -> None:
    system.api.apply(full_release(place, "v1", "v1", migrations=None))
    system.settle(place, "Healthy", version="v1")
    with load(system, place):
        system.api.apply(full_release(place, "degrading", "v3", migrations=None))
        found = system.settle(place, "RolledBack", version="degrading")
    assert found["status"]["rejected"]["reason"] == "AnalysisFailed"
    assert "error-rate" in condition(found, "AnalysisPassed")["message"]
    assert "1.0.0" in system.get(place, "/")[2], "the page did not go back with the backend"


@pytest.mark.parametrize(
    ("tag", "parts", "phase", "reason"),
    [
        pytest.param("crashing", {}, "Failed", "RevisionFailed", id="a container that never listens"),
        pytest.param(
            "bad-migration", {"migrations": {"target": "head", "backup": "Never"}}, "Failed", "MigrationFailed",
            id="a migration that fails",
        ),
        pytest.param("broken", {}, "Failed", "SmokeFailed", id="a check that fails"),
    ],
)  # fmt: skip
def test_a_first_release_that_fails_was_never_public(
    system: System, place: str, tag: str, parts: dict[str, object], phase: str, reason: str
) -> None:
    system.api.apply(release(place, tag, **parts))
    found = system.settle(place, phase, version=tag)
    assert found["status"]["rejected"]["reason"] == reason
    assert found["status"].get("stable") is None
    assert system.get(place, "/api/orders/1")[0] == 404 or not system.get(place, "/api/orders/1")[1]
    have = Belongings.of(system.gcp, place, system.owner(place))
    assert have.matcher is None


def test_a_fix_rolls_out_over_a_rejected_release(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    first = system.settle(place, "Healthy", version="v1")["status"]["stable"]["id"]
    system.api.apply(release(place, "broken"))
    system.settle(place, "RolledBack", version="broken")
    system.api.apply(release(place, "v2"))
    status = system.settle(place, "Healthy", version="v2")["status"]
    assert status.get("rejected") is None
    assert status["stable"]["id"] != first


def test_a_fix_is_deployable_while_stable_is_down(system: System, place: str) -> None:
    system.api.apply(release(place, "mortal"))
    stable = system.settle(place, "Healthy", version="mortal")["status"]["stable"]["id"]
    grave = Path(tempfile.gettempdir(), f"agui-grave-{service_of(place)}-{stable}")
    try:
        system.get(place, "/api/die")
        assert system.get(place, "/api/orders/1")[0] >= 500, "stable still serves"
        system.api.apply(release(place, "v2"))
        system.settle(place, "Healthy", version="v2")
        assert system.get(place, "/api/orders/1")[0] == 200
    finally:
        grave.unlink(missing_ok=True)


def test_a_newer_spec_supersedes_a_canary_under_way(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    system.reaches(place, "Paused")
    system.api.apply(release(place, "v3", strategy={"canary": HELD}))
    system.api.until(
        place,
        NAME,
        lambda d: d["status"]["phase"] == "Paused" and (d["status"].get("release") or {}).get("version") == "v3",
        "v3 in its first pause",
    )
    outcomes = [(e["release"]["version"], e["reason"]) for e in system.api.get(place, NAME)["status"]["history"]]
    assert ("v2", "Superseded") in outcomes
    system.api.annotate(place, NAME, promote_full="true")
    found = system.settle(place, "Healthy", version="v3")
    assert found["status"].get("rejected") is None


def test_an_edit_of_the_strategy_is_no_new_release(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    first = system.settle(place, "Healthy", version="v1")
    system.api.apply(release(place, "v1", strategy={"progressDeadline": "2m"}))
    found = system.settle(place, "Healthy", version="v1")
    assert found["status"]["stable"]["id"] == first["status"]["stable"]["id"]
    assert len(found["status"]["history"]) == 1


def test_no_secret_is_ever_shown(system: System, place: str, operator: OperatorProcess) -> None:
    system.api.apply(full_release(place, "v1", "v1", migrations=None))
    found = system.settle(place, "Healthy", version="v1")
    assert json.loads(system.get(place, "/api/orders/1")[2])["secret"] is True, "the application did not get it"
    shown = [json.dumps(found), json.dumps(system.api.events(place)), operator.log, operator.http("/metrics")[1]]
    assert not [text[:80] for text in shown if SECRET_VALUE in text]
    assert found["status"]["stable"]["secrets"]["SHOP_SECRET"].isdigit()


def test_kubectl_tells_the_story(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.plane.kubectl("wait", "--for=condition=Ready", f"agd/{NAME}", "-n", place, "--timeout=180s")
    system.plane.kubectl("wait", "--for=condition=Promoted", f"agd/{NAME}", "-n", place, "--timeout=60s")
    heads, row = system.plane.kubectl("get", "agd", NAME, "-n", place).splitlines()
    assert heads.split()[:4] == ["NAME", "PHASE", "STEP", "WEIGHT"]
    assert {"READY", "AGE", "RELEASE", "STABLE"} <= set(heads.split())
    assert "Healthy" in row
    assert "100" in row.split()
    wide = system.plane.kubectl("get", "agd", NAME, "-n", place, "-o", "wide").splitlines()[0]
    assert {"REASON", "URL", "WAITING-FOR"} <= set(wide.split())
    described = system.plane.kubectl("describe", "agd", NAME, "-n", place)
    assert "is healthy and stable" in described, "the Events are not with the object"


def test_drift_is_corrected_at_the_next_look(system: System, place: str, operator: OperatorProcess) -> None:
    """Somebody moves all traffic to nowhere of ours and deletes the rule; with a short resync both come back."""
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    first = system.api.get(place, NAME)["status"]["stable"]["id"]
    system.api.apply(release(place, "v2", strategy=AT_ONCE))
    second = system.settle(place, "Healthy", version="v2")["status"]["stable"]["id"]
    operator.stop()
    name = f"{service_of(place)}"
    path = f"/v2/projects/demo/locations/us-central1/services/{name}"
    service = system.cloud(path)
    by_hand = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": f"{name}-{first}", "percent": 100}]
    system.cloud(f"{path}?updateMask=traffic", {"traffic": by_hand, "etag": service["etag"]}, "PATCH")
    url_map = system.cloud("/compute/v1/projects/demo/global/urlMaps/shared")
    others = [rule for rule in url_map["hostRules"] if place not in str(rule["hosts"])]
    matchers = [matcher for matcher in url_map["pathMatchers"] if place not in matcher["name"]]
    body = {"fingerprint": url_map["fingerprint"], "hostRules": others or None, "pathMatchers": matchers or None}
    system.cloud("/compute/v1/projects/demo/global/urlMaps/shared", body, "PATCH")
    wait_for(lambda: not system.get(place, "/api/orders/1")[1], "the drift")
    short = system.operator(AGUI_RESYNC_SECONDS="1")
    try:
        wait_for(lambda: system.get(place, "/api/orders/1")[1] == f"{name}-{second}", "the correction")
        system.cloud(f"{path}?updateMask=traffic", {"traffic": by_hand, "etag": system.cloud(path)["etag"]}, "PATCH")
        wait_for(lambda: system.get(place, "/api/orders/1")[1] == f"{name}-{second}", "the second correction")
        system.api.until(
            place, NAME, lambda d: condition(d, "DriftFree")["status"] == "True", "the next look, which finds no drift"
        )
    finally:
        short.stop(wait=False)
        operator.start()

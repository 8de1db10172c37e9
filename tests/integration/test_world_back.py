"""The way back on real parts: it exists, it is looked at before it is taken, and it leads where it says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import ARTIFACTS, AT_ONCE, NAME, bundle, full_release, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
RUN = "/v2/projects/demo/locations/us-central1/services"
SECRETS = "/v1/projects/demo/secrets"


@pytest.fixture(scope="module", autouse=True)
def quick_operator(system: System) -> Iterator[OperatorProcess]:
    """Compares resting objects with the cloud every two seconds."""
    operator = system.operator(AGUI_RESYNC_SECONDS="2")
    yield operator
    system.retire(operator)


def ask(system: System, place: str, kind: str, value: str = "true") -> Json:
    """Sets the annotation and waits for the answer."""
    key = f"agui.dev/{kind}"
    system.api.annotate(place, NAME, **{kind: value})
    found = system.api.until(
        place,
        NAME,
        lambda d: (
            key not in (d["metadata"].get("annotations") or {})
            and (d["status"].get("lastRequest") or {}).get("kind") == kind
        ),
        f"an answer to {kind}",
    )
    answer: Json = found["status"]["lastRequest"]
    return answer


def promoted(system: System, place: str, tag: str, **parts: Any) -> Json:
    system.api.apply(release(place, tag, strategy=AT_ONCE, **parts))
    stable: Json = system.settle(place, "Healthy", version=tag)["status"]["stable"]
    return stable


def revision(place: str, stable: Json) -> str:
    return f"{service_of(place)}-{stable['id']}"


def ends(system: System, place: str, phase: str, text: str) -> Json:
    """The object at rest once the answer to the last request says `text`."""
    return system.api.until(
        place,
        NAME,
        lambda d: d["status"]["phase"] == phase and text in d["status"]["lastRequest"]["message"],
        f"{phase}: {text}",
    )


def test_undo_leads_to_what_was_stable_before_and_never_to_what_was_taken_back(system: System) -> None:
    """W37, and several steps back."""
    place = system.case()
    first = promoted(system, place, "v1")
    promoted(system, place, "v2")
    assert "is checked at 0 %" in ask(system, place, "undo")["message"]
    found = system.settle(place, "RolledBack")
    assert found["status"]["stable"]["id"] == first["id"]
    assert system.get(place, "/api/orders/1")[1] == revision(place, first)
    third = promoted(system, place, "v2", env={"COLOUR": "red"})
    assert [p["release"]["id"] for p in found["status"]["promoted"]] == [first["id"]]
    assert ask(system, place, "undo", "previous")["accepted"] is True
    found = system.settle(place, "RolledBack")
    assert found["status"]["stable"]["id"] == first["id"], "v2 was taken back"
    assert found["status"]["rejected"]["release"] == third["id"]
    assert "no release was stable before" in ask(system, place, "undo")["message"]
    again = system.settle(place, "RolledBack")
    assert ask(system, place, "retry")["accepted"] is True
    found = system.settle(place, "Healthy", version="v2")
    assert found["status"]["stable"]["id"] == f"{third['id']}-2"
    assert again["status"]["stable"]["id"] == first["id"]


def test_failures_do_not_push_a_promoted_release_out(system: System) -> None:
    """W13, F3, F4: and no attempt gets an id twice."""
    place = system.case()
    first = promoted(system, place, "v1")
    promoted(system, place, "v2")
    refused = set()
    for number in range(3):
        system.api.apply(release(place, "crashing", strategy=AT_ONCE, env={"N": str(number % 2)}, historyLimit=1))
        found = system.api.until(
            place,
            NAME,
            lambda d: d["status"]["phase"] == "RolledBack" and d["status"]["rejected"]["release"] not in refused,
            "another failure",
        )
        refused.add(found["status"]["rejected"]["release"])
    assert len(refused) == 3
    assert len(found["status"]["history"]) == 1
    assert ask(system, place, "undo")["accepted"] is True
    found = system.api.until(place, NAME, lambda d: d["status"]["stable"]["id"] == first["id"], "the first release")
    assert system.get(place, "/api/orders/1")[1] == revision(place, first)


def test_an_undo_to_a_release_whose_revision_is_gone_makes_it_again(system: System) -> None:
    """W3."""
    place = system.case()
    first = promoted(system, place, "v1")
    promoted(system, place, "v2")
    promoted(system, place, "v2", env={"COLOUR": "blue"})
    wait_for(lambda: len(_tags(system, place)) == 2, "the first revision has no tag any more")
    system.cloud(f"{RUN}/{service_of(place)}/revisions/{revision(place, first)}", method="DELETE")
    assert ask(system, place, "undo", first["id"])["accepted"] is True
    found = system.settle(place, "RolledBack")
    assert found["status"]["stable"]["id"] == first["id"]
    assert system.get(place, "/api/orders/1")[1] == revision(place, first)
    promoted(system, place, "v1", env={"COLOUR": "green"})


def test_an_undo_to_a_release_whose_secret_is_disabled_changes_nothing(system: System) -> None:
    """W19."""
    place = system.case()
    name = f"{place}-secret"
    system.cloud(f"{SECRETS}?secretId={name}", {"replication": {"automatic": {}}})
    for _ in range(2):
        system.cloud(f"{SECRETS}/{name}:addVersion", {"payload": {"data": "c2VjcmV0"}})
    for tag, version in (("v1", "1"), ("v2", "2")):
        document = release(place, tag, strategy=AT_ONCE)
        document["spec"]["backend"]["secrets"] = [{"env": "SHOP_SECRET", "secret": name, "version": version}]
        system.api.apply(document)
        system.settle(place, "Healthy", version=tag)
    system.cloud(f"{SECRETS}/{name}/versions/1:disable", {})
    found = system.api.until(place, NAME, lambda d: _way_back(d) == "False", "a way back that can't start")
    assert condition(found, "RollbackReady")["reason"] == "SecretDisabled"
    assert f"{name}@1" in condition(found, "RollbackReady")["message"]
    assert ask(system, place, "undo")["accepted"] is True
    ends(system, place, "Healthy", f"{name}@1")
    system.cloud(f"{SECRETS}/{name}/versions/1:enable", {})
    system.api.until(place, NAME, lambda d: _way_back(d) == "True", "the way back again")


def _way_back(found: Json) -> str:
    return str(condition(found, "RollbackReady")["status"])


def test_a_superseded_revision_can_not_be_reached_any_more(system: System) -> None:
    """W27."""
    place = system.case()
    promoted(system, place, "v1")
    slow = {"name": "slow", "http": {"path": "/nothing-here"}, "attempts": 10, "timeout": "30s"}
    system.api.apply(release(place, "v2", smoke=[slow]))
    system.reaches(place, "Smoking")
    wait_for(lambda: len(_tags(system, place)) == 2, "the candidate's tag")
    system.api.apply(release(place, "v1", suspend=True, env={"COLOUR": "green"}))
    wait_for(lambda: len(_tags(system, place)) == 1, "the superseded revision has no tag")


def _tags(system: System, place: str) -> list[str]:
    found = system.cloud(f"{RUN}/{service_of(place)}")
    return [target["tag"] for target in found["traffic"] if target.get("tag")]


def test_traffic_that_was_moved_by_hand_in_a_pause_is_shown_and_set_back(system: System) -> None:
    """W22."""
    place = system.case()
    first = promoted(system, place, "v1")
    strategy = {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}
    system.api.apply(release(place, "v2", strategy=strategy))
    found = system.api.until(place, NAME, lambda d: d["status"]["phase"] == "Paused", "a pause at 20 %")
    candidate = found["status"]["release"]
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    by_hand = [{"type": kind, "revision": revision(place, candidate), "percent": 100}]
    before = system.position
    service = f"{RUN}/{service_of(place)}"
    system.cloud(f"{service}?updateMask=traffic", {"name": service.removeprefix("/v2/"), "traffic": by_hand}, "PATCH")
    wait_for(lambda: _shares(system, place).get(revision(place, first)) == 80, "the step's weight again")
    assert [e for e in system.api.events(place) if "Traffic was changed" in e["message"]]
    assert system.effects(before)


def _shares(system: System, place: str) -> dict[str, int]:
    found = system.cloud(f"{RUN}/{service_of(place)}")
    return {t["revision"]: int(t.get("percent", 0)) for t in found["traffic"]}


def delete_object(system: System, bucket: str, name: str) -> None:
    system.cloud(f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", method="DELETE")


def drift(found: Json) -> str:
    return str(condition(found, "DriftFree").get("message"))


def test_files_of_the_stable_page_come_from_the_bundle_of_its_record_whatever_the_spec_asks_for(
    system: System, quick_operator: OperatorProcess
) -> None:
    """A rejected release is asked for, and the process that published the page is gone."""
    place, own = system.case(), f"bundles/own-{uuid.uuid4().hex}.tar.gz"
    assets, data = f"{place}-assets", bundle("v1")[0]
    system.gcp.upload(ARTIFACTS, own, data)
    first = full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE)
    first["spec"]["frontend"]["bundle"]["object"] = own
    system.api.apply(first)
    stable = system.settle(place, "Healthy", version="v1")["status"]["stable"]
    assert stable["bundle"].startswith(f"{own}@sha256:")
    system.api.apply(full_release(place, "broken", "v2", migrations=None, strategy=AT_ONCE))
    system.settle(place, "RolledBack", version="broken")
    quick_operator.kill()
    index = f"releases/{stable['frontend']}/index.html"
    pool = next(
        n for n in names_in(system, assets) if n.startswith("assets/") and n in page_files(system, assets, index)
    )
    quick_operator.start()
    for gone in (index, pool):
        delete_object(system, assets, gone)
        wait_for(lambda gone=gone: gone in names_in(system, assets), f"{gone} again")  # type: ignore[misc]
    system.api.until(place, NAME, lambda d: condition(d, "DriftFree")["status"] == "True", "DriftFree")
    assert system.get(place, "/")[0] == 200

    delete_object(system, ARTIFACTS, own)
    delete_object(system, assets, index)
    named = f"1 file of the page of release v1 ({stable['id']}) is missing in the assets bucket: gs://{assets}/{index}"
    found = system.api.until(
        place,
        NAME,
        lambda d: named in drift(d) and f"gs://{ARTIFACTS}/{own} does not exist" in drift(d),
        "what is missing",
    )
    assert condition(found, "Ready")["status"] == "False"
    system.gcp.upload(ARTIFACTS, own, data)
    found = system.api.until(place, NAME, lambda d: condition(d, "DriftFree")["status"] == "True", "DriftFree again")
    assert found["status"]["phase"] == "RolledBack"
    assert system.get(place, "/")[0] == 200


def names_in(system: System, bucket: str) -> set[str]:
    return {item["name"] for item in system.gcp.items(f"/storage/v1/b/{bucket}/o", "items")}


def page_files(system: System, bucket: str, index: str) -> set[str]:
    manifest = quote(index.replace("index.html", "manifest.json"), safe="")
    return {file["path"] for file in system.cloud(f"/storage/v1/b/{bucket}/o/{manifest}?alt=media")["files"]}

"""The campaign's verdict: each thing that may be wrong at rest is seen, and nothing else is called wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agui_dev.campaign import truth
from agui_dev.campaign.stage import Stage, Target
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import KubeApi
from agui_dev.testbed.releases import NAME
from agui_dev.testbed.system import service_of

Json = dict[str, Any]
PLACE = "t-1"
STABLE, BEFORE = "aaaaaaaaaa", "bbbbbbbbbb"
SERVICE = service_of(PLACE)
_TRUE = ("Ready", "Promoted", "SpecAccepted", "EnvironmentReady", "DriftFree", "AlertsConfigured")
TOLD = {**dict.fromkeys(_TRUE, "True"), **dict.fromkeys(("Reconciling", "Stalled", "Paused"), "False")}


def policy(title: str, limit: float) -> Json:
    return {
        "name": f"projects/demo/alertPolicies/{title}",
        "displayName": f"{PLACE}/{NAME}: {title}",
        "conditions": [{"conditionThreshold": {"thresholdValue": limit}}],
    }


def found() -> Json:
    conditions = [{"type": kind, "status": value, "observedGeneration": 3} for kind, value in TOLD.items()]
    back = {"type": "RollbackReady", "status": "True", "message": f"Release v1 ({BEFORE}) can be restored"}
    status = {
        "phase": "Healthy",
        "message": "fine",
        "rollout": {"weight": 100},
        "stable": {"id": STABLE, "frontend": "f1", "version": "v2"},
        "promoted": [{"release": {"id": STABLE}}, {"release": {"id": BEFORE}}],
        "conditions": [*conditions, {**back, "observedGeneration": 3}],
    }
    return {"metadata": {"generation": 3}, "status": status}


def belongings() -> Belongings:
    traffic = [
        {"revision": f"{SERVICE}-{STABLE}", "percent": 100, "tag": f"r-{STABLE}"},
        {"revision": f"{SERVICE}-{BEFORE}", "tag": f"r-{BEFORE}"},
    ]
    return Belongings(
        service={"traffic": traffic, "latestCreatedRevision": f"x/{SERVICE}-{STABLE}"},
        revisions=[f"{SERVICE}-{STABLE}", f"{SERVICE}-{BEFORE}", f"{SERVICE}-00012-abc"],
        jobs={f"{SERVICE}-m-{STABLE}": 1},
        matcher={"description": f"agui-owner=o release={STABLE} frontend=f1"},
        alerts=[policy("error rate", 0.05), policy("latency p95", 2000.0)],
        backups=["agui o aaaaaaaaaa"],
    )


def verdict(
    monkeypatch: pytest.MonkeyPatch, document: Json, have: Belongings, page: int = 200, missing: list[str] | None = None
) -> list[str]:
    monkeypatch.setattr(truth, "owned", lambda target: have)
    monkeypatch.setattr(truth, "missing_files", lambda target, frontend: missing or [])

    def get(namespace: str, path: str) -> tuple[int, str, str]:
        return (page, "", "") if path == "/" else (200, f"{SERVICE}-{STABLE}", "")

    stage = cast(Stage, SimpleNamespace(system=SimpleNamespace(get=get)))
    return truth.untrue(Target(stage, cast(KubeApi, None), PLACE, random.Random(1)), document)


def test_nothing_is_wrong_with_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, found(), belongings()) == []


def _told(kind: str, status: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        next(c for c in document["status"]["conditions"] if c["type"] == kind)["status"] = status

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(pytest.param(_told(kind, {"True": "False"}.get(value, "True")), id=kind) for kind, value in TOLD.items()),
        pytest.param(lambda d: d["metadata"].update(generation=4), id="an older generation"),
        pytest.param(lambda d: d["status"]["rollout"].update(weight=50), id="weight"),
        pytest.param(lambda d: d["status"].update(waitingFor={"what": "x"}), id="waits"),
        pytest.param(lambda d: d["status"].update(message=""), id="no message"),
        pytest.param(lambda d: d["status"]["stable"].update(id="cccccccccc"), id="another stable"),
        pytest.param(lambda d: d["status"]["promoted"].pop(), id="a tag of no promoted release"),
        pytest.param(lambda d: d["status"].update(phase="RolledBack"), id="rolled back"),
    ],
)
def test_a_false_word_is_seen(monkeypatch: pytest.MonkeyPatch, change: Callable[[Json], None]) -> None:
    document = found()
    change(document)
    assert verdict(monkeypatch, document, belongings())


HAVE = belongings()


@pytest.mark.parametrize(
    "have",
    [
        pytest.param(replace(HAVE, service={"traffic": [{"revision": "x", "percent": 100}]}), id="traffic"),
        pytest.param(replace(HAVE, matcher=None), id="no page rules"),
        pytest.param(
            replace(HAVE, matcher={"description": f"release={STABLE} frontend=f1 candidate=x"}), id="candidate"
        ),
        pytest.param(replace(HAVE, alerts=HAVE.alerts[:1]), id="an alert less"),
        pytest.param(replace(HAVE, alerts=[*HAVE.alerts, HAVE.alerts[0]]), id="an alert twice"),
        pytest.param(replace(HAVE, alerts=[policy("error rate", 0.5), HAVE.alerts[1]]), id="another limit"),
        pytest.param(replace(HAVE, jobs={f"{SERVICE}-m-{STABLE}": 2}), id="a job twice"),
        pytest.param(replace(HAVE, jobs={f"{SERVICE}-m-cccccccccc": 1}), id="a job of nobody"),
        pytest.param(replace(HAVE, backups=[*HAVE.backups, *HAVE.backups]), id="a backup twice"),
        pytest.param(replace(HAVE, revisions=[*HAVE.revisions, f"{SERVICE}-cccccccccc"]), id="a revision of nobody"),
        pytest.param(replace(HAVE, revisions=HAVE.revisions[:1]), id="no revision to go back to"),
    ],
)
def test_what_is_wrong_in_the_cloud_is_seen(monkeypatch: pytest.MonkeyPatch, have: Belongings) -> None:
    assert verdict(monkeypatch, found(), have)


def test_a_page_that_is_gone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, found(), HAVE, page=404) == ["the page answers 404"]


def test_files_of_the_page_that_are_missing_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(monkeypatch, found(), HAVE, missing=["x.js"]) == ["files of the page are missing: ['x.js']"]
    without = found()
    without["status"]["stable"].pop("frontend")
    assert "files of the page are missing: ['x.js']" not in verdict(monkeypatch, without, HAVE, missing=["x.js"])


def test_a_page_that_is_gone_is_no_rest_also_where_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is missing of the stable release's page at rest is published again."""
    document = found()
    _told("DriftFree", "False")(document)
    assert verdict(monkeypatch, document, HAVE, page=404) == ["the page answers 404", "DriftFree=False: None"]

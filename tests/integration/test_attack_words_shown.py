"""Canaries: a secret that a failing start, a failing job and a leaking agent say, looked for in 13 places.

By default none has it. Where an AgUiPolicy permits diagnostics, what was said appears, and the secret in it is masked.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AGENT_CHECK, AT_ONCE, NAME, SECRET, SECRET_VALUE, policy, release
from agui_dev.testbed.system import System, service_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
BLOCKED: Json = {"name": "blocked", "agent": {"say": "x", "expect": [{"blocked": "prompt_injection"}]}, "attempts": 1}
READY: Json = {"name": "version", "http": {"path": "/version"}}
# image, what differs in the spec, the reason of its failure ("" for none), and what is shown of it by default
LEAKS: dict[str, tuple[str, Json, str, str]] = {
    "start": ("leaking-start", {}, "RevisionFailed", "(HEALTH_CHECK_CONTAINER_ERROR)"),
    "job": (
        "leaking-job",
        {"migrations": {"target": "head", "backup": "Never"}},
        "MigrationFailed",
        "exit code 1: the container exited with an error (NON_ZERO_EXIT_CODE)",
    ),
    "agent": ("leaking", {"smoke": [AGENT_CHECK]}, "SmokeFailed", "the run ended with RUN_ERROR (code unknown)"),
    "rule": ("leaking", {"smoke": [BLOCKED]}, "SmokeFailed", "the run was blocked by another rule"),
    "schema": ("leaking", {"smoke": [READY]}, "", ""),
}


def leaking(system: System, place: str, leak: str) -> Json:
    """The object after a release that says its secret."""
    image, more, reason, _ = LEAKS[leak]
    document = release(place, image, strategy=AT_ONCE, env={"COLOUR": "mauve-of-the-spec"}, **more)
    document["spec"]["backend"]["secrets"] = [{"env": "SHOP_SECRET", "secret": SECRET}]
    system.api.apply(document)
    found = system.settle(place, "Failed" if reason else "Healthy", version=image)
    assert (found["status"].get("rejected") or {}).get("reason", "") == reason
    return found


def dashboard(port: int, path: str, *, one_event: bool = False) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.readline().decode() + answer.readline().decode() if one_event else answer.read().decode()
    finally:
        connection.close()


def command(system: System, *arguments: str, stdin: str = "") -> str:
    env = {**os.environ, "KUBECONFIG": str(system.plane.kubeconfig)}
    program = [sys.executable, "-m", "agui_operator", *arguments]
    done = subprocess.run(program, env=env, input=stdin, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def places(system: System, place: str, operator: OperatorProcess, port: int) -> dict[str, str]:
    """All that is shown of an object, to whom it is shown."""
    found = system.api.get(place, NAME)
    plan = yaml.safe_dump(release(place, "v1", strategy=AT_ONCE))
    labels = [effect for effect in system.effects(0) if place in effect["resource"] or service_of(place) in str(effect)]
    return {
        "status": json.dumps(found["status"]),
        "metadata": json.dumps(found["metadata"]),
        "Events": json.dumps(system.api.events(place)),
        "kubectl get": system.plane.kubectl("get", "agd", "-n", place, "-o", "wide"),
        "kubectl describe": system.plane.kubectl("describe", "agd", NAME, "-n", place),
        "operator log": operator.log,
        "metrics": operator.http("/metrics")[1],
        "dashboard": dashboard(port, f"/?namespace={place}"),
        "page of the object": dashboard(port, f"/d/{place}/{NAME}"),
        "live stream": dashboard(port, f"/live?namespace={place}", one_event=True),
        "wait": command(system, "wait", NAME, "-n", place, "--timeout", "5s"),
        "plan": command(system, "plan", "-", stdin=plan),
        "cloud": json.dumps(labels),
    }


@pytest.mark.parametrize("leak", LEAKS)
def test_by_default_no_place_shows_what_a_release_says(
    system: System, dashboard_operator: OperatorProcess, dashboard_port: int, leak: str
) -> None:
    place = system.case()
    found = leaking(system, place, leak)
    shown = places(system, place, dashboard_operator, dashboard_port)
    assert len(shown) == 13
    assert all(shown.values()), [name for name, text in shown.items() if not text]
    assert [name for name, text in shown.items() if SECRET_VALUE in text] == []
    message = json.dumps(found["status"].get("rejected") or {})
    assert LEAKS[leak][3] in message
    assert "column email" not in message
    if leak in ("start", "job"):
        assert "gcloud logging read" in message


@pytest.mark.parametrize("leak", LEAKS)
def test_with_diagnostics_the_words_appear_and_secrets_are_masked(
    system: System, dashboard_operator: OperatorProcess, dashboard_port: int, leak: str
) -> None:
    place = system.case()
    system.api.apply(policy(f"diagnostics-{leak}", (place,), diagnostics="LogLines"))
    found = leaking(system, place, leak)
    message = (found["status"].get("rejected") or {}).get("message", "")
    match leak:
        case "start":
            assert "container failed to start and listen" in message
        case "job":
            assert "connecting to postgres://***@db.example/shop | DB_PASSWORD=*** was refused" in message
            assert "the colour is *** | column email already exists" in message
        case "agent":
            assert "(code NO_TOOL password=***)" in message
        case "rule":
            assert "the run was blocked by house rule, token=***" in message
        case _:
            assert found["status"]["stable"]["schema"] == "0001", "a name that looks like a key is no name"
    shown = places(system, place, dashboard_operator, dashboard_port)
    assert [name for name, text in shown.items() if SECRET_VALUE in text] == []

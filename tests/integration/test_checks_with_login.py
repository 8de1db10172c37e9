"""Release checks of the shipped samples against an application with a login: they log in as the operator's own account,
and nobody else does."""

from __future__ import annotations

import copy
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.kube_api import KubeApi
from agui_dev.testbed.world import NAME, NAMESPACE, OPERATOR_ACCOUNT, World
from token_issuer import token_issuer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
IAP_AUDIENCE = "/projects/1/global/backendServices/2"
SPOKEN = {
    "steps": [{"setWeight": 50}, {"analysis": {}}],
    "analysis": {
        "minSamples": 10,
        "interval": "1s",
        "deadline": "60s",
        "metrics": [{"name": "error-rate", "max": 0}],
        "syntheticConversations": {"perMinute": 60},
    },
}


class Place:
    """The demo's world whose operator has an identity, and the application's login."""

    def __init__(self, world: World, issuer_url: str) -> None:
        assert world.control_plane is not None
        self.world, self.api = world, KubeApi(world.control_plane.kubeconfig)
        checks = {"AGUI_CHECK_KEYS_URL": f"{world.cloud.endpoint}/oauth2/v3/certs", "HOST": "127.0.0.1"}
        self.logins: dict[str, dict[str, str]] = {
            "oidc": checks
            | {"AGUI_IDENTITY": "oidc", "AGUI_IDENTITY_AUDIENCE": "shop", "AGUI_IDENTITY_ISSUER": issuer_url},
            "iap": checks | {"AGUI_IDENTITY": "iap", "AGUI_IDENTITY_AUDIENCE": IAP_AUDIENCE},
        }

    def release(self, sample: str, env: Mapping[str, str], canary: Json | None = None) -> Json:
        """A sample with everything that it checks, all traffic at once unless `canary` says otherwise."""
        document: Json = yaml.safe_load(self.world.fill(self.world.release(sample)))
        spec = document["spec"]
        spec["migrations"]["backup"] = "Never"
        spec["strategy"] = {"progressDeadline": "90s"} | ({"canary": copy.deepcopy(canary)} if canary else {})
        kept = [entry for entry in spec["backend"]["env"] if entry["name"] not in env]
        spec["backend"]["env"] = kept + [{"name": name, "value": value} for name, value in env.items()]
        self.api.apply(document)
        return document

    def settle(self, seconds: float = 120) -> Json:
        """The status when it rests."""
        deadline = time.monotonic() + seconds
        while True:
            found: Json = self.api.get(NAMESPACE, NAME)
            status: Json = found.get("status") or {}
            if status.get("observedGeneration") == found["metadata"]["generation"] and status.get("phase") in (
                "Healthy",
                "RolledBack",
                "Failed",
            ):
                return status
            assert time.monotonic() < deadline, (status.get("phase"), status.get("message"))
            time.sleep(0.2)

    def token(self, account: str, audience: str) -> str:
        """An ID token as the metadata server gives it to a workload that runs as `account`."""
        path = f"/computeMetadata/v1/instance/service-accounts/{account}/identity?audience={audience}"
        request = urllib.request.Request(self.world.cloud.endpoint + path, headers={"Metadata-Flavor": "Google"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    @property
    def url(self) -> str:
        """The service's own URL, which is the audience of the operator's tokens."""
        env = yaml.safe_load(self.world.fill(self.world.release("v1")))["spec"]["backend"]["env"]
        (url,) = [str(entry["value"]) for entry in env if entry["name"] == "AGUI_CHECK_AUDIENCE"]
        return url

    def ask(self, path: str, headers: Mapping[str, str]) -> tuple[int, Json]:
        """HTTP status and JSON of the service."""
        host = self.url.removeprefix("http://")
        request = urllib.request.Request(self.world.edge + path, headers={"Host": host, **headers})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, {}

    def status_of(self, headers: Mapping[str, str]) -> int:
        """HTTP status of an order that belongs to the customer of the checks."""
        return self.ask("/api/orders/42", headers)[0]

    def conversations(self) -> int:
        """How many threads the user of the checks has, at most 100."""
        mine = {"X-Agui-Check-Authorization": f"Bearer {self.token(OPERATOR_ACCOUNT, self.url)}"}
        status, found = self.ask("/copilotkit/threads?limit=100", mine)
        assert status == 200
        return len(found["threads"])


@pytest.fixture(scope="module")
def place(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("login")
    options = ("--lro-seconds", "0", "--metric-period-seconds", "0.25")
    world = World(folder, lambda _: None, options, small_pages=True, with_identity=True)
    with token_issuer() as issuer:
        world.start_on(control_plane)
        made = Place(world, issuer.url)
        try:
            yield made
        finally:
            if made.api.exists(NAMESPACE, NAME):
                control_plane.kubectl("delete", "aguideployments", NAME, "-n", NAMESPACE, "--timeout=60s")
            world.stop(kill_cloud=True)
            control_plane.kubectl("delete", "aguienvironments", "--all", "-n", NAMESPACE, "--wait=false")
            control_plane.kubectl("delete", "aguipolicies", "demo", "--wait=false")
            made.api.close()


@pytest.mark.parametrize("login", ["oidc", "iap"])
def test_checks_of_a_sample_pass_with_a_login(place: Place, login: str) -> None:
    """The first release passes each of its checks, the second one is also spoken to while it is a canary."""
    document = place.release("v1", place.logins[login])
    names = {check["name"] for check in document["spec"]["smoke"]}
    assert {"ready", "socket", "conversation", "approval", "guardrail"} <= names
    status = place.settle()
    assert status["phase"] == "Healthy", (status["message"], status.get("rejected"))
    agents = [check for check in document["spec"]["smoke"] if "agent" in check]
    place.release("v2", place.logins[login], SPOKEN)
    before = place.conversations()
    status = place.settle()
    assert status["phase"] == "Healthy", (status["message"], status.get("rejected"))
    spoken = place.conversations() - before
    assert spoken >= 2 * len(agents) + 10, "the checks' own conversations at both stages, and those of the canary"


def test_nobody_elses_checks_pass(place: Place) -> None:
    """Asked of the release that the test before has left running."""
    url = place.url
    runtime = "concierge-runtime@demo.iam.gserviceaccount.com"
    mine, others = place.token(OPERATOR_ACCOUNT, url), place.token(runtime, url)
    elsewhere = place.token(OPERATOR_ACCOUNT, url.replace("demo-concierge", "demo-other"))
    header = "X-Agui-Check-Authorization"
    assert place.status_of({header: f"Bearer {mine}"}) == 200
    for refused in (others, elsewhere, mine[:-4] + "AAAA", ""):
        assert place.status_of({header: f"Bearer {refused}"}) == 401
    assert place.status_of({"Authorization": f"Bearer {mine}"}) == 401, "a token of checks is no user's"
    assert place.status_of({"X-Agui-Synthetic": "smoke"}) == 401

    place.release("v5", place.logins["oidc"] | {"AGUI_CHECK_ACCOUNTS": runtime})
    status = place.settle()
    assert status["phase"] == "RolledBack"
    assert status["rejected"]["reason"] == "SmokeFailed"
    assert "closed with code 1008" in status["message"] or "401" in status["message"]

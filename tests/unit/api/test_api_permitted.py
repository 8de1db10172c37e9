"""Policy decisions: each table row is a spec, a policy and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.core.blockers import place_of
from agui_operator.core.permitted import Violation, from_repository, frozen, refusals
from agui_operator.core.uses import of_spec

REPOSITORY = "us-docker.pkg.dev/acme/agui"
ENVIRONMENT = parse_environment({"projectId": "acme-prod", "region": "us-central1"})


def spec(backend: dict[str, Any] | None = None, **more: Any) -> Any:
    base = {"image": f"{REPOSITORY}/app:v1", "serviceAccount": "concierge"}
    return parse_deployment({"environmentRef": {"name": "prod"}, "backend": base | (backend or {}), **more})


def policy(**more: Any) -> Any:
    base: dict[str, Any] = {
        "namespaces": ["prod", "team-*"],
        "projects": ["acme-*"],
        "regions": ["us-central1"],
        "serviceAccounts": ["concierge"],
        "imageRepositories": [REPOSITORY],
    }
    return parse_policy(base | more)


def permitted(wanted: Any, environment: Any, namespace: str, policies: list[Any]) -> tuple[Violation, ...]:
    return refusals(of_spec(wanted, place_of(environment)), namespace, policies)


EMAIL = "concierge@acme-prod.iam.gserviceaccount.com"
FOREIGN = "concierge@other-1.iam.gserviceaccount.com"
JOB = {"name": "e2e", "job": {"image": "docker.io/evil/e2e:1"}}


@pytest.mark.parametrize(
    ("wanted", "allowed", "paths"),
    [
        pytest.param(spec(), policy(), (), id="all-allowed"),
        pytest.param(spec(), policy(projects=["other"]), ("spec.environmentRef (prod) projectId",), id="project"),
        pytest.param(spec(), policy(regions=["europe-west1"]), ("spec.environmentRef (prod) region",), id="region"),
        pytest.param(spec(), policy(serviceAccounts=["other-sa"]), ("spec.backend.serviceAccount",), id="account"),
        pytest.param(spec({"serviceAccount": EMAIL}), policy(), (), id="email-of-the-same-account"),
        pytest.param(spec({"serviceAccount": FOREIGN}), policy(), ("spec.backend.serviceAccount",), id="foreign"),
        pytest.param(
            spec({"serviceAccount": FOREIGN}),
            policy(serviceAccounts=["concierge*"]),
            ("spec.backend.serviceAccount",),
            id="a-prefix-stays-in-the-project",
        ),
        pytest.param(spec({"serviceAccount": FOREIGN}), policy(serviceAccounts=[FOREIGN]), (), id="foreign-by-email"),
        pytest.param(spec(), policy(serviceAccounts=[EMAIL]), (), id="short-name-by-email"),
        pytest.param(spec(), policy(imageRepositories=["docker.io/x"]), ("spec.backend.image",), id="image"),
        pytest.param(spec(smoke=[JOB]), policy(), ("spec.smoke[0].job.image",), id="image-of-a-check"),
        pytest.param(
            spec(migrations={"image": "ghcr.io/x/y:1"}), policy(), ("spec.migrations.image",), id="image-of-migrations"
        ),
        pytest.param(spec({"ingress": "All"}), policy(), ("spec.backend.ingress",), id="ingress"),
        pytest.param(spec({"ingress": "All"}), policy(ingress=["All"]), (), id="ingress-allowed"),
        pytest.param(
            spec(alerts={"channels": ["oncall"]}),
            policy(channels=["dev-*"]),
            ("spec.alerts.channels[0]",),
            id="channel",
        ),
        pytest.param(
            spec({"scaling": {"minInstances": 3, "maxInstances": 20}, "resources": {"cpu": "2", "memory": "4Gi"}}),
            policy(limits={"maxInstances": 10, "minInstances": 2, "maxCpu": 1.5, "maxMemoryMi": 2048}),
            (
                "spec.backend.scaling.maxInstances",
                "spec.backend.scaling.minInstances",
                "spec.backend.resources.cpu",
                "spec.backend.resources.memory",
            ),
            id="limits",
        ),
        pytest.param(
            spec({"scaling": {"maxInstances": 10}, "resources": {"cpu": "500m", "memory": "512Mi"}}),
            policy(limits={"maxInstances": 10, "maxCpu": 0.5, "maxMemoryMi": 512}),
            (),
            id="at-the-limit",
        ),
    ],
)
def test_what_is_refused(wanted: Any, allowed: Any, paths: tuple[str, ...]) -> None:
    findings = permitted(wanted, ENVIRONMENT, "prod", [allowed])
    assert tuple(f.path for f in findings) == paths


def test_no_policy_is_one_finding() -> None:
    want = (Violation("metadata.namespace", "prod", "no AgUiPolicy names it"),)
    assert permitted(spec(), ENVIRONMENT, "prod", []) == want
    assert permitted(spec(), ENVIRONMENT, "prod", [policy(namespaces=["product", "pro"])]) == want


def test_a_prefix_pattern_names_namespaces() -> None:
    assert permitted(spec(), ENVIRONMENT, "team-a", [policy()]) == ()


def test_policies_do_not_add_up_and_the_closest_is_told() -> None:
    region = policy(regions=["europe-west1"], projects=["other"])
    image = policy(imageRepositories=["docker.io/x"])
    findings = permitted(spec(), ENVIRONMENT, "prod", [region, image])
    assert [f.path for f in findings] == ["spec.backend.image"]
    assert permitted(spec(), ENVIRONMENT, "prod", [region, image, policy()]) == ()


def test_a_finding_is_a_sentence() -> None:
    (finding,) = permitted(spec({"image": "docker.io/x/y:1"}), ENVIRONMENT, "prod", [policy()])
    assert str(finding) == (
        "spec.backend.image: docker.io/x/y:1 is not permitted; allowed image repositories: us-docker.pkg.dev/acme/agui"
    )


@pytest.mark.parametrize(
    ("image", "prefix", "covered"),
    [
        ("h.io/team/app:1", "h.io/team", True),
        ("h.io/team/app:1", "h.io/team/", True),
        ("h.io/team/app:1", "h.io/team/app", True),
        ("h.io/team/app@sha256:00", "h.io/team/app", True),
        ("h.io/team-b/app:1", "h.io/team", False),
        ("h.io/team:1", "h.io/team/", False),
        ("h.io.evil.com/team/app:1", "h.io", False),
        ("h.io/team/app", "*", True),
        ("evil.com/h.io/team/app", "h.io/team", False),
    ],
)
def test_repository_prefixes_end_at_a_segment(image: str, prefix: str, covered: bool) -> None:
    assert from_repository(image, [prefix]) is covered


AT = datetime(2026, 12, 24, 12, tzinfo=UTC)


def window(name: str, start: str, end: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "from": f"2026-12-{start}T00:00:00Z", "until": f"2026-12-{end}T00:00:00Z", **more}


@pytest.mark.parametrize(
    ("policies", "until"),
    [
        pytest.param([], "none", id="no-policy"),
        pytest.param([policy(freezes=[window("a", "25", "26")])], "none", id="not-yet"),
        pytest.param([policy(freezes=[window("a", "20", "24")])], "none", id="over"),
        pytest.param([policy(freezes=[window("a", "20", "25")])], "25", id="now"),
        pytest.param([policy(freezes=[window("a", "20", "25"), window("b", "23", "27")])], "27", id="the-later-end"),
        pytest.param([policy(namespaces=["x"], freezes=[window("a", "20", "25")])], "none", id="other-namespace"),
        pytest.param([policy(stop={"active": True}, freezes=[window("a", "20", "25")])], "stop", id="stop-wins"),
    ],
)
def test_freezes(policies: list[Any], until: str) -> None:
    freeze = frozen(policies, "prod", AT)
    found = "none" if freeze is None else "stop" if freeze.until is None else f"{freeze.until.day}"
    assert found == until


def test_of_several_freezes_the_last_to_end_is_told() -> None:
    freeze = frozen([policy(freezes=[window("a", "20", "25"), window("b", "20", "26")])], "prod", AT)
    assert freeze is not None
    assert "b until 2026-12-26" in freeze.message


def test_the_stop_button_says_why() -> None:
    freeze = frozen([policy(stop={"active": True, "reason": "incident 12"})], "prod", AT)
    assert freeze is not None
    assert freeze.message == "stopped by an administrator: incident 12"

"""Serving, migrating and checking are three identities: each job has what it needs and no more."""

from __future__ import annotations

from typing import Any

from agui_operator.api.parse import parse_deployment, parse_environment
from agui_operator.core.actions import ContainerTemplate
from agui_operator.core.blockers import place_of
from agui_operator.core.blueprint import CANDIDATE, build_blueprint
from agui_operator.core.fingerprint import fingerprint_of
from agui_operator.core.names import Names
from agui_operator.core.release import Resolved, make_release

IMAGE = "us-docker.pkg.dev/acme/agui/app:v1"
ENVIRONMENT = {"projectId": "acme-prod", "region": "us-central1", "database": {"instance": "main"}}
SPEC: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "backend": {
        "image": IMAGE,
        "serviceAccount": "concierge",
        "env": [{"name": "MODE", "value": "fast"}],
        "secrets": [{"env": "DB_PASSWORD", "secret": "db", "version": "3"}],
    },
    "migrations": {"serviceAccount": "migrator"},
    "smoke": [
        {"name": "rows", "sql": {"check": "counts"}},
        {"name": "e2e", "job": {"image": IMAGE, "serviceAccount": "checker@acme-prod.iam.gserviceaccount.com"}},
    ],
}
SOCKET = ("acme-prod:us-central1:main",)


def containers(spec: dict[str, Any]) -> dict[str, ContainerTemplate]:
    parsed, place = parse_deployment(spec), place_of(parse_environment(ENVIRONMENT))
    release = make_release(parsed, Resolved(IMAGE, IMAGE, {"DB_PASSWORD": "3"}, None), "owner")
    plan = build_blueprint(parsed, Names("shop", "concierge", "uid", "acme-prod", "us-central1"), place, release)
    assert plan.migration is not None
    jobs = {check: job.container for (stage, check), job in plan.check_jobs.items() if stage == CANDIDATE}
    return {"serving": plan.revision.container, "migrating": plan.migration.container, **jobs}


def test_each_has_its_own_identity() -> None:
    found = {name: box.service_account.partition("@")[0] for name, box in containers(SPEC).items()}
    assert found == {"serving": "concierge", "migrating": "migrator", "rows": "migrator", "e2e": "checker"}


def test_a_check_of_its_own_image_gets_no_secret_and_no_database() -> None:
    boxes = containers(SPEC)
    assert {name: (len(box.secrets), box.sql_instances) for name, box in boxes.items()} == {
        "serving": (1, SOCKET),
        "migrating": (1, SOCKET),
        "rows": (1, SOCKET),
        "e2e": (0, ()),
    }
    assert boxes["e2e"].env["MODE"] == "fast"


def test_the_backends_identity_is_the_default_and_makes_no_new_release() -> None:
    plain = {**SPEC, "migrations": {}, "smoke": [{"name": "e2e", "job": {"image": IMAGE}}]}
    assert {box.service_account for box in containers(plain).values()} == {
        "concierge@acme-prod.iam.gserviceaccount.com"
    }
    named = {**plain, "migrations": {"serviceAccount": None}}
    assert fingerprint_of(parse_deployment(plain)) == fingerprint_of(parse_deployment(named))

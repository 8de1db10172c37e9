"""What a job check is told about the release that it checks: enough to look at this one and at no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from agui_operator.api.parse import parse_deployment, parse_environment
from agui_operator.core.actions import JobDefined
from agui_operator.core.blockers import place_of
from agui_operator.core.blueprint import CANDIDATE, PROMOTED, build_blueprint
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.phases import actions_of
from agui_operator.core.phases.case import Case
from agui_operator.core.release import Resolved, make_release
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import ServiceView, Snapshot

SAMPLES = Path(__file__).parents[3] / "manifests/samples"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = Names("demo", "concierge", "uid-1", "demo", "us-central1")
CHECKS = [{"name": "browser", "job": {"image": "h.io/demo/e2e:1"}}, {"name": "records", "sql": {"check": "schema"}}]


def spec_of(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((SAMPLES / name).read_text())["spec"]
    return loaded


SPEC = parse_deployment(spec_of("release-v2.yaml") | {"smoke": CHECKS})
PLACE = place_of(parse_environment(spec_of("environment.yaml")))
RELEASE = make_release(SPEC, Resolved("img@sha256:1", "img@sha256:1", {"DB_PASSWORD": "3"}, "ab" * 32), NAMES.owner)
PLAN = build_blueprint(SPEC, NAMES, PLACE, RELEASE)
CANDIDATE_URL, SERVICE_URL = "https://r-1---svc.run.app", "https://svc.run.app"
SERVICE = ServiceView(
    name=NAMES.service,
    etag="",
    owner="uid-1",
    uri=SERVICE_URL,
    traffic=(),
    serving=(),
    tag_uris={NAMES.tag(RELEASE.id): CANDIDATE_URL, "r-other": "https://other.run.app"},
    template_revision="",
    latest_created="",
    latest_ready="",
    reconciling=False,
    ready=True,
)


def defined(phase: Phase, check: str, stage: str, service: ServiceView | None = SERVICE) -> dict[str, str]:
    """The environment of the job that is defined for one check in a phase."""
    seen = Snapshot(service=service, service_known=True, check_jobs={check: None})
    (action,) = actions_of(Case(Memory(phase=phase, candidate=RELEASE), seen, PLAN, NAMES, NOW))
    assert isinstance(action, JobDefined)
    assert action.template.job == PLAN.check_jobs[stage, check].job
    return dict(action.template.container.env)


def test_a_candidate_is_told_from_what_users_see() -> None:
    env = defined(Phase.SMOKING, "browser", CANDIDATE)
    told = {name: env[name] for name in ("AGUI_STAGE", "AGUI_RELEASE", "AGUI_FRONTEND", "AGUI_ORIGIN")}
    assert told == {
        "AGUI_STAGE": "candidate",
        "AGUI_RELEASE": RELEASE.id,
        "AGUI_FRONTEND": RELEASE.frontend,
        "AGUI_ORIGIN": spec_of("environment.yaml")["edge"]["domain"],
    }
    assert env["AGUI_BACKEND_URL"] == CANDIDATE_URL


def test_after_promotion_it_is_where_users_are() -> None:
    env = defined(Phase.BAKING, "browser", PROMOTED)
    assert (env["AGUI_STAGE"], env["AGUI_BACKEND_URL"]) == ("promoted", SERVICE_URL)


def test_what_is_not_known_is_not_told() -> None:
    assert "AGUI_BACKEND_URL" not in defined(Phase.SMOKING, "browser", CANDIDATE, replace(SERVICE, tag_uris={}))
    bare = build_blueprint(SPEC, NAMES, replace(PLACE, edge=None), replace(RELEASE, frontend=None))
    env = bare.check_jobs[CANDIDATE, "browser"].container.env
    assert "AGUI_ORIGIN" not in env
    assert "AGUI_FRONTEND" not in env


def test_a_verification_of_records_is_told_nothing_of_this() -> None:
    env = defined(Phase.SMOKING, "records", CANDIDATE)
    assert not {"AGUI_STAGE", "AGUI_BACKEND_URL", "AGUI_ORIGIN"} & set(env)

"""Parsing: what is accepted, with which defaults, and the sentence for what is not."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from agui_operator.api.base import format_duration, parse_duration
from agui_operator.api.parse import FieldError, SpecInvalid, parse_deployment, parse_environment, parse_policy
from agui_operator.api.smoke import Stage

MINIMAL: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "backend": {"image": "us-docker.pkg.dev/acme/agui/app:v1", "serviceAccount": "concierge"},
}
SHA = "ab" * 32


def merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(dict(base))
    for key, value in extra.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def errors(**extra: Any) -> tuple[FieldError, ...]:
    with pytest.raises(SpecInvalid) as caught:
        parse_deployment(merged(MINIMAL, extra))
    return caught.value.errors


def test_a_minimal_spec_has_the_documented_defaults() -> None:
    spec = parse_deployment(MINIMAL)
    assert spec.backend.port == 8080
    assert spec.backend.ingress == "InternalAndCloudLoadBalancing"
    assert spec.strategy.progress_deadline == timedelta(minutes=30)
    assert spec.rollback.automatic
    assert spec.rollback.window == timedelta(hours=24)
    assert spec.history_limit == 10
    assert not spec.suspend
    assert spec.migrations is None
    assert spec.frontend is None
    policy = spec.deletion_policy.model_dump()
    assert policy == dict.fromkeys(("backend", "alerts", "pointer"), "Delete") | dict.fromkeys(
        ("assets", "backups", "database"), "Retain"
    )


def test_defaults_of_analysis_and_checks() -> None:
    canary = {
        "steps": [{"setWeight": 10}, {"analysis": {}}],
        "analysis": {"metrics": [{"name": "error-rate", "max": 0.1}]},
    }
    spec = parse_deployment(
        merged(MINIMAL, {"strategy": {"canary": canary}, "smoke": [{"name": "ready", "http": {"path": "/readyz"}}]})
    )
    assert spec.strategy.canary is not None
    analysis = spec.strategy.canary.analysis
    assert analysis is not None
    assert (analysis.min_samples, analysis.interval, analysis.deadline) == (
        200,
        timedelta(seconds=30),
        timedelta(minutes=10),
    )
    assert analysis.inconclusive == "Hold"
    (check,) = spec.smoke
    assert (check.attempts, check.timeout, check.at) == (3, timedelta(seconds=10), (Stage.CANDIDATE, Stage.PROMOTED))
    assert check.kind == "http"
    assert check.http is not None
    assert (check.http.method, check.http.status) == ("GET", 200)


def test_specs_are_immutable() -> None:
    spec = parse_deployment(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        spec.suspend = True  # type: ignore[misc]


def test_a_view_of_a_mapping_is_as_good_as_a_dict() -> None:
    view = MappingProxyType({k: MappingProxyType(v) for k, v in MINIMAL.items()})
    assert parse_deployment(view) == parse_deployment(MINIMAL)


def test_whole_numbers_are_taken_where_text_is_meant() -> None:
    secrets = [{"env": "A", "secret": "a", "version": 7}]
    spec = parse_deployment(merged(MINIMAL, {"backend": {"resources": {"cpu": 2}, "secrets": secrets}}))
    assert spec.backend.resources.cpu == "2"
    assert spec.backend.secrets[0].version == "7"


def test_what_was_parsed_can_be_written_and_parsed_again() -> None:
    smoke = [{"name": "talk", "agent": {"say": ["a", "b"], "firstTokenWithin": "1500ms"}}]
    spec = parse_deployment(
        merged(MINIMAL, {"smoke": smoke, "frontend": {"bundle": {"object": "b.tar.gz", "sha256": SHA}}})
    )
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert parse_deployment(written) == spec
    assert written["smoke"][0]["agent"]["firstTokenWithin"] == "1500ms"
    assert written["frontend"]["skewWindow"] == "24h"


CANARY = {"steps": [{"setWeight": 10}, {"setWeight": 170}]}
TALK = {"name": "talk", "agent": {"say": "hi", "expect": [{"tool": "a", "finished": True}]}}


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        pytest.param(
            {"strategy": {"canary": CANARY}},
            "spec.strategy.canary.steps[1].setWeight: must be 0..100, got 170; use a whole percentage",
            id="weight",
        ),
        pytest.param(
            {"strategy": {"canary": {"steps": [{"setWeight": 50}, {"setWeight": 10}]}}},
            "spec.strategy.canary.steps: must have increasing setWeight values; "
            "order the steps from the smallest to the largest weight",
            id="weights-fall",
        ),
        pytest.param(
            {"strategy": {"canary": {"steps": [{"setWeight": 50}, {"setWeight": 50}]}}},
            "spec.strategy.canary.steps: must have increasing setWeight values; "
            "order the steps from the smallest to the largest weight",
            id="weights-repeat",
        ),
        pytest.param(
            {"strategy": {"canary": {"steps": [{"setWeight": 5, "pause": {}}]}}},
            "spec.strategy.canary.steps[0]: must have exactly one of setWeight, analysis or pause; "
            "keep one key per step and move the others to entries of their own",
            id="two-keys-in-a-step",
        ),
        pytest.param(
            {"strategy": {"canary": {"steps": [{"setWeight": 5}, {"analysis": {}}]}}},
            "spec.strategy.canary.analysis: must be set, because a step asks for an analysis; "
            "add spec.strategy.canary.analysis.metrics or remove the step",
            id="analysis-without-metrics",
        ),
        pytest.param(
            {"smoke": [{"name": "x", "http": {"path": "http://metadata/"}}]},
            'spec.smoke[0].http.path: must be a path such as /readyz, got "http://metadata/"; '
            "leave scheme, host and fragment out",
            id="a-url-is-no-path",
        ),
        pytest.param(
            {"smoke": [{"name": "x", "sql": {"check": "records"}}]},
            "spec.smoke: must have no sql check, because spec.migrations is absent; "
            "add spec.migrations: the check runs in its image",
            id="sql-without-migrations",
        ),
        pytest.param(
            {"smoke": [TALK]},
            "spec.smoke[0].agent.expect[0]: must have exactly one of text, tool, interrupt, resume, blocked, finished "
            "or state; keep one key per expectation and move the others to entries of their own",
            id="two-expectations-in-one",
        ),
        pytest.param(
            {"backend": {"env": [{"name": "PORT", "value": "1"}]}},
            "spec.backend.env: must not set PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, AGUI_RELEASE or "
            "AGUI_VERSION, which the platform sets; use another name",
            id="reserved-variable",
        ),
        pytest.param(
            {"backend": {"env": [{"name": "A"}, {"name": "A"}]}},
            "spec.backend.env: must have no two items with the same name; rename or remove the second",
            id="variable-twice",
        ),
        pytest.param(
            {"backend": {"port": "8080"}},
            'spec.backend.port: must be a whole number, got "8080"; write it without quotes and fraction',
            id="no-coercion",
        ),
        pytest.param(
            {"backend": {"imagePullPolicy": "Always"}},
            "spec.backend.imagePullPolicy: is not a known field; correct its name or remove it",
            id="unknown-field",
        ),
        pytest.param(
            {"backend": {"image": "nginx"}},
            'spec.backend.image: must be registry/repository:tag or registry/repository@sha256:digest, got "nginx"; '
            "write the full reference in lower case",
            id="short-image",
        ),
        pytest.param(
            {"strategy": {"progressDeadline": 30}},
            "spec.strategy.progressDeadline: must be a duration, got 30; "
            "write a number with a unit, such as 30s, 5m or 24h",
            id="duration-without-unit",
        ),
        pytest.param(
            {"deletionPolicy": {"database": "Delete"}},
            'spec.deletionPolicy.database: must be Retain, got "Delete"; choose one of them',
            id="a-database-is-never-deleted",
        ),
        pytest.param(
            {"migrations": {"rehearse": "Clone"}},
            "spec.migrations.rehearse: must be Never: a rehearsal on a copy is not supported yet; set Never",
            id="not-supported-yet",
        ),
        pytest.param(
            {"frontend": {"bundle": {"object": "../b.tar.gz", "sha256": SHA}}},
            'spec.frontend.bundle.object: has a form that is not allowed, got "../b.tar.gz"; '
            "it must match ^[A-Za-z0-9][A-Za-z0-9._/-]*$",
            id="object-outside",
        ),
    ],
)
def test_one_sentence_per_error(extra: dict[str, Any], sentence: str) -> None:
    assert [str(e) for e in errors(**extra)] == [sentence]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(SpecInvalid, match=r"^spec\.backend: is required; add it$"):
        parse_deployment({"environmentRef": {"name": "prod"}})


def test_many_errors_are_told_shortly_and_kept_all() -> None:
    found = errors(**{f"field{i}": 1 for i in range(9)})
    assert len(found) == 9
    assert str(SpecInvalid(found)).endswith("And 4 more")


def test_long_values_are_not_repeated() -> None:
    (error,) = errors(version="!" * 5000)
    assert len(str(error)) < 250


@pytest.mark.parametrize("raw", [None, [], "x", 3, {1: 2}, {"a": float("nan")}, {"a": object()}, {"a": "\ud800"}])
def test_what_is_no_json_object_is_refused(raw: Any) -> None:
    with pytest.raises(SpecInvalid):
        parse_deployment(raw)


def test_what_refers_to_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(SpecInvalid, match="spec: must be JSON"):
        parse_deployment(loop)


def test_a_spec_has_an_upper_size() -> None:
    say = [{"name": f"c{i}", "agent": {"say": ["x" * 2000] * 5}} for i in range(30)]
    (error,) = errors(smoke=say)
    assert error.path == "spec"
    assert "must be at most 65536 bytes" in error.message


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("24h", 86400), ("1h30m", 5400), ("500ms", 0.5), ("7d", 604800)]
)
def test_durations(text: str, seconds: float) -> None:
    value = parse_duration(text)
    assert value == timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "1.5h", "5M", "999999999d", "5m\n", True, None, 5, []])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize(("value", "text"), [(90, "90s"), (300, "5m"), (86400, "24h"), (0, "0s"), (0.25, "250ms")])
def test_durations_are_written_with_one_unit(value: float, text: str) -> None:
    assert format_duration(timedelta(seconds=value)) == text


def test_environment() -> None:
    spec = parse_environment(
        {
            "projectId": "demo",
            "region": "us-central1",
            "database": {
                "instance": "main",
                "databases": ["app"],
                "users": [{"name": "app", "secret": "concierge-db"}],
            },
            "storage": {"assets": {"bucket": "demo-assets"}, "artifacts": {"bucket": "demo-artifacts"}},
            "edge": {
                "domain": "http://localhost:8086",
                "urlMap": "edge",
                "backendBucket": "assets",
                "backendService": "api",
            },
            "observability": {"channels": [{"name": "oncall", "resource": "projects/demo/notificationChannels/12"}]},
        }
    )
    assert spec.edge is not None
    assert spec.edge.api_paths == ("/copilotkit", "/api", "/agent", "/ws")
    assert spec.management.edge == "Observed"


def test_managed_parts_are_refused_with_a_reason() -> None:
    with pytest.raises(SpecInvalid, match=r"^spec\.management\.edge: must be Observed: Managed is not supported yet"):
        parse_environment({"projectId": "demo", "region": "us-central1", "management": {"edge": "Managed"}})


def test_policy() -> None:
    raw = {
        "namespaces": ["team-*"],
        "projects": ["*"],
        "regions": ["us-*"],
        "serviceAccounts": ["*"],
        "imageRepositories": ["us-docker.pkg.dev/acme"],
        "freezes": [{"name": "xmas", "from": "2026-12-20T00:00:00Z", "until": "2027-01-02T00:00:00+01:00"}],
    }
    spec = parse_policy(raw)
    assert spec.freezes[0].from_ == datetime(2026, 12, 20, tzinfo=UTC)
    assert spec.model_dump(mode="json", by_alias=True)["freezes"][0]["from"] == "2026-12-20T00:00:00Z"
    assert not spec.stop.active
    backwards = {**raw, "freezes": [{"name": "x", "from": "2026-12-20T00:00:00Z", "until": "2026-12-19T00:00:00Z"}]}
    with pytest.raises(SpecInvalid, match=r"^spec\.freezes\[0\]\.until: must be later than from; swap the two$"):
        parse_policy(backwards)


@pytest.mark.parametrize("text", ["2026-12-20", "2026-12-20T00:00:00", "tomorrow", 5, "9999-12-31T23:59:59-23:00"])
def test_a_time_needs_its_offset(text: Any) -> None:
    window = {"name": "x", "from": text, "until": "2027-01-02T00:00:00Z"}
    with pytest.raises(SpecInvalid) as caught:
        parse_policy({"freezes": [window]})
    (error,) = [e for e in caught.value.errors if e.path == "spec.freezes[0].from"]
    assert error.fix == "write it as 2026-12-24T00:00:00Z"

"""The method table read from Google's client packages."""

from __future__ import annotations

import re

import pytest

from localgcp.server.methods import OPERATIONS_API, http_rules, rpcs
from localgcp.services import PROTO_SERVICES

RUN = "google.cloud.run.v2."


def found(api: str, verb: str, path: str) -> tuple[str, tuple[str, ...]] | None:
    for rule in http_rules(api, rpcs(api)):
        if rule.verb == verb and (match := rule.pattern.match(path)):
            return rule.rpc.method, match.groups()
    return None


@pytest.mark.parametrize(
    ("api", "verb", "path", "method"),
    [
        (RUN + "Services", "PATCH", "/v2/projects/p/locations/l/services/s", "UpdateService"),
        (RUN + "Services", "POST", "/v2/projects/p/locations/l/services/s:setIamPolicy", "SetIamPolicy"),
        (RUN + "Jobs", "POST", "/v2/projects/p/locations/l/jobs/j:run", "RunJob"),
        (RUN + "Revisions", "GET", "/v2/projects/p/locations/l/services/s/revisions", "ListRevisions"),
        (RUN + "Tasks", "GET", "/v2/projects/p/locations/l/jobs/j/executions/e/tasks/t", "GetTask"),
        (OPERATIONS_API, "POST", "/v2/projects/p/locations/l/operations/o:wait", "WaitOperation"),
        ("google.monitoring.v3.MetricService", "POST", "/v3/projects/p/timeSeries", "CreateTimeSeries"),
        (
            "google.cloud.secretmanager.v1.SecretManagerService",
            "GET",
            "/v1/projects/p/secrets/s/versions/latest:access",
            "AccessSecretVersion",
        ),
    ],
)
def test_http_rules(api: str, verb: str, path: str, method: str) -> None:
    assert (found(api, verb, path) or ("none",))[0] == method


def test_a_path_variable_does_not_swallow_a_verb() -> None:
    assert found(RUN + "Jobs", "GET", "/v2/projects/p/locations/l/jobs/j:run") is None


def test_reads_and_writes() -> None:
    methods = {**rpcs(RUN + "Jobs"), **rpcs(OPERATIONS_API)}
    assert {name for name, rpc in methods.items() if not rpc.write} == {
        "GetJob",
        "ListJobs",
        "GetIamPolicy",
        "TestIamPermissions",
        "GetOperation",
        "ListOperations",
        "WaitOperation",
    }


def test_resources() -> None:
    create, update = rpcs(RUN + "Jobs")["CreateJob"], rpcs(RUN + "Services")["UpdateService"]
    assert create.resource(create.request(parent="p/l", job_id="j")) == "p/l/jobs/j"
    assert update.resource(update.request(service={"name": "p/l/services/s"})) == "p/l/services/s"


def test_every_listed_service_is_in_a_module_of_the_package() -> None:
    assert all(re.fullmatch(r"localgcp\.services\.\w+\.\w+:\w+", path) for path in PROTO_SERVICES)

"""The method table read from Google's client packages."""

from __future__ import annotations

import pytest

from localgcp.server.methods import http_rules, rpcs
from localgcp.services import SERVICES

RUN = "google.cloud.run.v2."
OPERATIONS_API = "google.longrunning.Operations"
APIS = {api.name: api for service in SERVICES for api in service.protos}


def found(api: str, verb: str, path: str) -> tuple[str, tuple[str, ...]] | None:
    for rule in http_rules(APIS[api], rpcs(APIS[api])):
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
    methods = {**rpcs(APIS[RUN + "Jobs"]), **rpcs(APIS[OPERATIONS_API])}
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
    create, update = rpcs(APIS[RUN + "Jobs"])["CreateJob"], rpcs(APIS[RUN + "Services"])["UpdateService"]
    assert create.resource(create.request(parent="p/l", job_id="j")) == "p/l/jobs/j"
    assert update.resource(update.request(service={"name": "p/l/services/s"})) == "p/l/services/s"


def test_no_two_services_claim_a_name_or_an_api() -> None:
    names = [service.name for service in SERVICES]
    apis = [api.name for service in SERVICES for api in service.protos]
    hosts = [host for service in SERVICES for host in service.hosts]
    for found in (names, apis, hosts):
        assert len(found) == len(set(found))

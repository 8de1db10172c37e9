"""What the OpenAPI document promises, tried by schemathesis: no unexpected 5xx, no undocumented answer."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.no_cover  # other tests reach the lines; a measured run takes twice as long

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [
    ("GET", "/health"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/version"),
    ("GET", "/api/orders/{order_id}"),
    ("GET", "/api/approvals"),
    ("POST", "/api/approvals"),
    ("POST", "/agent"),
    ("GET", "/copilotkit/info"),
    ("GET", "/copilotkit/threads"),
    ("POST", "/copilotkit/agent/{agent_id}/run"),
    ("POST", "/copilotkit/agent/{agent_id}/connect"),
    ("POST", "/copilotkit/agent/{agent_id}/stop/{thread_id}"),
    ("POST", "/copilotkit"),
]
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def offered(app_instances):
    """The document as an instance gives it."""
    return schemathesis.openapi.from_url(app_instances[0].url + "/openapi.json")


def test_the_document_describes_the_bodies_that_are_parsed_by_hand(app_instances):
    document = app_instances[0].get("/openapi.json").json()
    offered = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
    assert sorted(offered) == sorted(OPERATIONS)  # or one of them would not be tried below
    body = document["paths"]["/agent"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    model = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert set(model["required"]) == {"threadId", "runId"}
    assert {"messages", "resume", "tools"} <= set(model["properties"])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_answers_as_documented(offered, method, path):
    @given(case=offered[path][method].as_strategy() | offered[path][method].as_strategy(GenerationMode.NEGATIVE))
    @SETTINGS
    def answers(case):
        case.call_and_validate(checks=CHECKS, timeout=60)

    answers()


def test_nothing_of_this_was_an_error_of_ours(app_instances):
    assert app_instances[0].get("/readyz").status_code == 200
    errors = [line for line in app_instances[0].log() if line["severity"] == "ERROR"]
    assert [line for line in errors if line["logger"].startswith(("agui_app", "uvicorn"))] == []

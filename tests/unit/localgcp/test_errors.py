"""Errors as each protocol has them."""

from __future__ import annotations

import grpc
import pytest

from localgcp.kit.errors import ApiError, from_http, invalid


def test_newer_apis() -> None:
    error = ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "RATE_LIMIT_EXCEEDED", {"quota": "writes"})
    body = error.body()["error"]
    assert (error.http, body["code"], body["status"], body["message"]) == (429, 429, "RESOURCE_EXHAUSTED", "slow down")
    (info,) = body["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["metadata"]) == ("RATE_LIMIT_EXCEEDED", {"quota": "writes"})


def test_a_field_becomes_a_violation() -> None:
    (detail,) = invalid("bad", "a.b").body()["error"]["details"]
    assert detail["fieldViolations"] == [{"field": "a.b", "description": "bad"}]


def test_older_apis() -> None:
    error = from_http(412, "stale", location="If-Match")
    assert error.legacy_body() == {
        "error": {
            "code": 412,
            "message": "stale",
            "errors": [
                {
                    "message": "stale",
                    "domain": "global",
                    "reason": "conditionNotMet",
                    "locationType": "parameter",
                    "location": "If-Match",
                }
            ],
        }
    }


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_an_http_status(code: grpc.StatusCode) -> None:
    error = ApiError(code, "x")
    assert 400 <= error.http < 600
    assert error.status().code == code.value[0]

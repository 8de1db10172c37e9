"""HTTP check: one request, its status, and at most one value of its JSON answer."""

from __future__ import annotations

import json
from typing import Any

from agui_operator.api.smoke import HttpCheck
from agui_operator.checks.guard import Guard
from agui_operator.checks.json_path import JsonPathInvalid, parse_json_path, same, value_at
from agui_operator.checks.target import CheckTarget, Failed, Passed


async def check_http(check: HttpCheck, target: CheckTarget, guard: Guard, seconds: float) -> Passed:
    """Raises Failed, Unreachable, Refused. A redirect is an answer like any other, and is not followed."""
    reply = await guard.request(target.call(check.path, method=check.method, body=check.body, deadline=seconds))
    if reply.code != check.status:
        raise Failed(f"expected status {check.status}; the server answered {reply.code}", reply.code, reply.latency_ms)
    if check.json_path is not None:
        wrong = _compare(check.json_path, check.equals, reply.body, reply.truncated)
        if wrong is not None:
            raise Failed(wrong, reply.code, reply.latency_ms)
    return Passed(f"answered {reply.code}", reply.code, reply.latency_ms)


def _compare(expression: str, want: Any, body: bytes, truncated: bool) -> str | None:
    """What is wrong with the answer's value, without the value."""
    if truncated:
        return f"expected {expression} in the answer; the answer is too long to be read as JSON"
    try:
        path = parse_json_path(expression)
        there, value = value_at(json.loads(body), path)
    except JsonPathInvalid as wrong:
        return f"jsonPath {expression} can't be used: {wrong}"
    except (ValueError, RecursionError):
        return f"expected {expression} in the answer; the answer is not JSON"
    if not there:
        return f"expected {expression} in the answer; it is not there"
    return None if same(want, value) else f"expected {expression} to have the wanted value; it has another"

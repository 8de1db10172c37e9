"""Runs one check of the spec. Whatever happens, the answer is a CheckResult: a failed check is an observation, not an
error.

Checks of the kinds `sql` and `job` run as Cloud Run jobs; the engine starts those itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import replace
from typing import Any

from agui_operator.api.smoke import SmokeCheck
from agui_operator.checks.addresses import Refused
from agui_operator.checks.agent_check import check_agent
from agui_operator.checks.assets_check import check_assets
from agui_operator.checks.guard import CheckRequest, Guard, TooLarge, Unreachable
from agui_operator.checks.http_check import check_http
from agui_operator.checks.target import CheckTarget, Failed, Passed
from agui_operator.checks.websocket_check import check_websocket
from agui_operator.core.errors import trace_of
from agui_operator.core.snapshot import CheckResult, SchemaReport
from agui_operator.core.words import UNDISCLOSED, Disclosure, Words

__all__ = ["CheckTarget", "reported_schema", "run_check"]

_BACK_OFF = (0.2, 0.5, 1.0)  # seconds between attempts; the last one repeats
_SCHEMA = re.compile(r"[0-9]{1,12}|[0-9a-f]{12}")  # a number, or what Alembic makes up
_OTHER_SCHEMA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_log = logging.getLogger(__name__)


async def run_check(check: SmokeCheck, target: CheckTarget, guard: Guard) -> CheckResult:
    """Tries the check up to `attempts` times, each within `timeout`, and never raises. The message of a failure names
    what was expected and what came instead; it holds nothing of an answer's body."""
    attempts = max(1, check.attempts)
    result = CheckResult(check.name, False, "the check was not run")
    for attempt in range(attempts):
        if attempt:
            await asyncio.sleep(_BACK_OFF[min(attempt, len(_BACK_OFF)) - 1])
        result, final = await _attempt(check, target, guard)
        if final:
            return result
    return replace(result, message=f"{result.message} ({attempts} attempts)") if attempts > 1 else result


async def _attempt(check: SmokeCheck, target: CheckTarget, guard: Guard) -> tuple[CheckResult, bool]:
    """One try; True if another can't end differently."""
    name = check.name
    try:
        met = await _ask(check, target, guard, check.timeout.total_seconds())
        return CheckResult(name, True, met.message, _rounded(met.latency_ms), met.code), True
    except Failed as failed:
        return CheckResult(name, False, str(failed), _rounded(failed.latency_ms), failed.code), False
    except Refused as refused:
        return CheckResult(name, False, f"refused: {refused}"), True
    except (Unreachable, TooLarge) as failed:
        return CheckResult(name, False, str(failed)), False
    except Exception as unexpected:
        _log.error("check %s failed in itself: %s", name, trace_of(unexpected))
        return CheckResult(name, False, f"the check itself failed ({type(unexpected).__name__})"), False


async def _ask(check: SmokeCheck, target: CheckTarget, guard: Guard, seconds: float) -> Passed:
    if check.http is not None:
        return await check_http(check.http, target, guard, seconds)
    if check.websocket is not None:
        return await check_websocket(check.websocket, target, guard, seconds)
    if check.agent is not None:
        return await check_agent(check.agent, target, guard, seconds)
    if check.assets is not None:
        return await check_assets(check.assets, target, guard, seconds)
    raise Failed("expected a check of kind http, websocket, agent or assets; other kinds run as jobs")


async def reported_schema(
    guard: Guard, origin: str, *, audience: str | None = None, disclosure: Disclosure = UNDISCLOSED
) -> SchemaReport | None:
    """What the release at `origin` says of the schema (`/version`: `schema.database`, or else `schema.required`, is the
    head), or None if it does not say. Names that are no number and no id of Alembic are the application's words. Never
    raises."""
    try:
        reply = await guard.request(CheckRequest(origin, "/version", audience=audience))
        schema = json.loads(reply.body)["schema"] if reply.code == 200 else {}
        said = [_schema_id(schema.get(key), disclosure) for key in ("database", "required", "floor")]
    except (Refused, Unreachable, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    head, requires, floor = said
    found = head or requires
    return SchemaReport(found, requires, floor) if found is not None else None


def _schema_id(raw: Any, disclosure: Disclosure) -> str | None:
    if isinstance(raw, str) and _SCHEMA.fullmatch(raw):
        return raw
    told = Words.of_workload(raw).told(disclosure)
    return told if _OTHER_SCHEMA.fullmatch(told) else None


def _rounded(latency_ms: float | None) -> float | None:
    return None if latency_ms is None else round(latency_ms, 1)

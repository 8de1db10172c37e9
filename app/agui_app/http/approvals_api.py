"""Questions that another person than the asker must answer: `approver: another` in the guardrails."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from agui_app.agents.approvals import Decision
from agui_app.agents.guardrails import ApprovalRule
from agui_app.caller import Caller
from agui_app.http.common import Refused, caller_of, json_body, services_of
from agui_app.services import Services

router = APIRouter(prefix="/api", tags=["approvals"])
_FIELDS = {"user", "thread", "call", "confirmed"}
_REASON = 500  # characters at most
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": sorted(_FIELDS),
                    "additionalProperties": False,
                    "properties": {
                        "user": {"type": "string"},
                        "thread": {"type": "string"},
                        "call": {"type": "string"},
                        "confirmed": {"type": "boolean"},
                        "reason": {"type": "string", "maxLength": _REASON},
                    },
                }
            }
        },
    }
}


@router.get("/approvals", responses={403: {"description": "not an approver"}})
async def waiting(request: Request) -> dict[str, Any]:
    """Open questions of other people that demand another person."""
    services = services_of(request)
    approver = _approver(services, caller_of(request))
    return {"approvals": await services.agents.approvals.waiting(approver.user_id, _tools(services))}


@router.post(
    "/approvals",
    openapi_extra=_BODY,
    responses={
        400: {"description": "not JSON"},
        403: {"description": "not an approver"},
        404: {"description": "no such open question of another person"},
        415: {"description": "the body is not application/json"},
        422: {"description": "not an answer"},
    },
)
async def answer(request: Request) -> dict[str, str]:
    """Answers one question: `confirmed` is true or false, `reason` is kept in the audit trail. It takes effect when the
    asker goes on."""
    services = services_of(request)
    approver = _approver(services, caller_of(request))
    body = await json_body(request)
    if not isinstance(body, dict) or set(body) - {"reason"} != _FIELDS or not isinstance(body["confirmed"], bool):
        raise Refused(422, "invalid_input", "expected {user, thread, call, confirmed: true or false}, and reason")
    user, thread, call = (body[name] for name in ("user", "thread", "call"))
    if not all(isinstance(value, str) and len(value) <= 256 and value.isprintable() for value in (user, thread, call)):
        raise Refused(422, "invalid_input", "user, thread and call are strings")
    reason = body.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _REASON or not reason.isprintable():
        raise Refused(422, "invalid_input", f"reason is one line of at most {_REASON} characters")
    decision: Decision = "granted" if body["confirmed"] else "denied"
    if not await services.agents.approvals.endorse(approver.user_id, user, thread, call, decision):
        raise Refused(404, "not_found", "there is no such open question of another person")
    await services.agents.trail.record(
        f"approval.{decision}_by_another",
        user_id=approver.user_id,
        session_id=thread,
        details={"asker": user, "function_call_id": call} | ({"reason": reason} if reason else {}),
    )
    return {"status": decision}


async def number_waiting(services: Services, caller: Caller) -> int | None:
    """How many questions wait for this approver, at most 100; None for everybody else."""
    if not _is_approver(services, caller):
        return None
    return len(await services.agents.approvals.waiting(caller.user_id, _tools(services)))


def _tools(services: Services) -> list[str]:
    rules = services.agents.rules.rules
    return [rule.tool for rule in rules if isinstance(rule, ApprovalRule) and rule.approver == "another"]


def _is_approver(services: Services, caller: Caller) -> bool:
    return not caller.is_check and caller.user_id in services.settings.access.approvers


def _approver(services: Services, caller: Caller) -> Caller:
    if not _is_approver(services, caller):
        raise Refused(403, "forbidden", "you are not an approver (AGUI_APPROVERS)")
    return caller

"""Guardrails and approvals as one ADK plugin: it sees every agent, so that no agent can be added without them.

A block is reported three times: to the user as text, to the client as the AG-UI event
`CUSTOM guardrail.block`, and to the operator of the system as an audit record.
"""

from __future__ import annotations

import json
from typing import Any

from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.genai import types

from agui_app.agents.approvals import Decision
from agui_app.agents.audit import AuditTrail
from agui_app.agents.guardrails import Finding, Guardrails, approval_of, check_input, check_tool, check_turns, redact
from agui_app.agents.injection import Classifier
from agui_app.agents.offline_model import last_words
from agui_app.agents.run_context import current_run
from agui_app.telemetry.measures import Measures

_BROUGHT_ALONG = "agui-history-"  # ag-ui-adk's invocation for the messages before the first one of a new thread
_MESSAGES_TOGETHER = 3
_NOT_TOOLS = frozenset({"transfer_to_agent", "adk_request_confirmation"})


class OversightPlugin(BasePlugin):  # type: ignore[misc]
    """Applies the rules before the model and before each tool, and records approvals."""

    def __init__(
        self, rules: Guardrails, trail: AuditTrail, measures: Measures, classifier: Classifier | None = None
    ) -> None:
        super().__init__(name="oversight")
        self._rules = rules
        self._trail = trail
        self._measures = measures
        self._classifier = classifier

    async def before_model_callback(self, *, callback_context: Any, llm_request: LlmRequest) -> LlmResponse | None:
        """Blocks on what the user said, or on what a tool brought in; else None. A check that fails ends the run."""
        run = current_run()
        run.guarded = True
        try:
            return await self._check_input(callback_context, llm_request)
        except Exception:
            run.guard_failed = True
            raise

    async def _check_input(self, callback_context: Any, llm_request: LlmRequest) -> LlmResponse | None:
        _, answers = last_words(llm_request.contents)
        run, said = current_run(), _said(callback_context.user_content)
        finding = self._check(said) or self._check("\n".join(run.brought))
        if finding is None:
            finding = self._check_together(callback_context.session, said)
        for answer in answers:
            finding = finding or self._check(json.dumps(answer.result, default=str, ensure_ascii=False))
        if finding is None and not run.history_passed:  # it does not change while a run goes on
            finding = self._check_history(callback_context.session)
            run.history_passed = finding is None
        if finding is None:
            finding = check_turns(self._rules, _user_turns(callback_context.session))
        if finding is None:
            return None
        await self._report(finding, callback_context, callback_context.agent_name)
        return LlmResponse(content=types.Content(role="model", parts=[types.Part(text=finding.reply)]))

    def _check(self, text: str) -> Finding | None:
        return check_input(self._rules, text, self._classifier) if text else None

    def _check_together(self, session: Any, said: str) -> Finding | None:
        """What a person says in parts: the last messages as one text, without those that were stopped alone."""
        before = [words for event in session.events if event.author == "user" and (words := _said(event.content))]
        parts = [words for words in before[-_MESSAGES_TOGETHER:] if words != said and self._check(words) is None]
        return self._check("\n".join([*parts, said])) if parts else None

    def _check_history(self, session: Any) -> Finding | None:
        """What a client brought along as the thread's past is as much its word as what it says now."""
        for event in session.events:
            if event.invocation_id.startswith(_BROUGHT_ALONG):
                if finding := self._check(_said(event.content)):
                    return finding
            elif event.content:
                return None  # the past comes before everything else
        return None

    async def after_model_callback(self, *, callback_context: Any, llm_response: LlmResponse) -> LlmResponse | None:
        """Redacts the stored answer. Streamed chunks are redacted on their way out, where they are joined again."""
        usage = llm_response.usage_metadata
        if usage is not None and not llm_response.partial:
            self._measures.tokens(usage.prompt_token_count or 0, usage.candidates_token_count or 0)
        if llm_response.partial or llm_response.content is None:
            return None
        changed = False
        for part in llm_response.content.parts or []:
            if not part.text:
                continue
            clean, findings = redact(self._rules, part.text)
            for finding in findings:
                await self._report(finding, callback_context, callback_context.agent_name)
            changed |= bool(findings)
            part.text = clean
        return llm_response if changed else None

    async def before_tool_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any
    ) -> dict[str, Any] | None:
        """Blocks a call that a rule forbids (before anybody is asked to approve it); records decided approvals."""
        if tool.name in _NOT_TOOLS:
            return None
        run = current_run()
        run.tool_calls += 1
        finding = check_tool(self._rules, tool.name, tool_args, run.tool_calls)
        if finding is not None:
            await self._report(finding, tool_context, tool_context.agent_name, tool=tool.name)
            return {"status": "blocked", "rule": finding.rule, "message": finding.reply}
        if tool_context.tool_confirmation is not None:
            return await self._decided(tool, tool_context)
        return None

    async def on_event_callback(self, *, invocation_context: Any, event: Any) -> None:
        """Records that somebody was asked to approve something."""
        asked = event.actions.requested_tool_confirmations if event.actions else None
        if not asked:
            return
        for call in event.get_function_responses():
            if call.id in asked:
                await self._asked(invocation_context, event.author, call.id, call.name)

    async def _report(self, finding: Finding, context: Any, agent: str, **details: Any) -> None:
        run = current_run()
        run.blocks += finding.action == "block"
        turn = _user_turns(context.session)
        run.note(f"guardrail.{finding.action}", rule=finding.rule, stage=finding.stage, agent=agent, turn=turn)
        await self._trail.finding(
            finding,
            agent=agent,
            user_id=run.user_id,
            session_id=run.thread_id,
            invocation_id=context.invocation_id,
            details=details,
        )

    async def _asked(self, context: Any, agent: str, call_id: str, tool: str) -> None:
        run = current_run()
        await self._trail.approvals.ask(run.user_id, run.thread_id, call_id, tool, _arguments(context.session, call_id))
        rule = approval_of(self._rules, tool)
        if rule is not None and rule.approver == "another":
            run.note("approval.another", call=call_id, tool=tool)
        self._measures.approval("requested")
        await self._trail.record(
            "approval.requested",
            user_id=run.user_id,
            session_id=run.thread_id,
            agent=agent,
            invocation_id=context.invocation_id,
            details={"tool": tool, "function_call_id": call_id},
        )

    async def _decided(self, tool: Any, context: Any) -> dict[str, Any] | None:
        """Records the answer; what the tool says instead of running, if a needed other person did not agree."""
        rule, run, call_id = approval_of(self._rules, tool.name), current_run(), context.function_call_id
        granted = context.tool_confirmation.confirmed is True
        alone = granted and rule is not None and rule.approver == "another"
        if alone and await self._trail.approvals.said_by_another(run.user_id, run.thread_id, call_id) == "granted":
            alone = False
        status: Decision = "granted" if granted and not alone else "denied"
        if await self._trail.approvals.decide(run.user_id, run.thread_id, call_id, status):
            self._measures.approval(status)
            await self._trail.record(
                f"approval.{status}",
                user_id=run.user_id,
                session_id=run.thread_id,
                agent=context.agent_name,
                invocation_id=context.invocation_id,
                details={"tool": tool.name, "function_call_id": call_id},
            )
        if not alone or rule is None:
            return None
        finding = Finding(rule.id, "tool", "block", rule.severity, rule.reply)
        await self._report(finding, context, context.agent_name, tool=tool.name)
        return {"status": "blocked", "rule": rule.id, "message": rule.reply}


def _said(content: Any) -> str:
    """The words that began this invocation, as they came in: nothing a user writes can pass for something else."""
    return " ".join(part.text for part in (content.parts if content else None) or [] if part.text)


def _user_turns(session: Any) -> int:
    """Messages of the user in this session; tool answers do not count."""
    return sum(
        1
        for event in session.events
        if event.author == "user" and event.content and any(p.text for p in event.content.parts or [])
    )


def _arguments(session: Any, call_id: str) -> dict[str, Any]:
    for event in reversed(session.events):
        for call in event.get_function_calls():
            if call.id == call_id:
                return dict(call.args or {})
    return {}

"""The agents: a concierge that hands over to three specialists, under one set of guardrails.

Only the model's name differs between production and tests: `MODEL=gemini-...` swaps the script for a real model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ag_ui_adk import ADKAgent, AGUIToolset
from google.adk.agents import LlmAgent
from google.adk.apps import App, ResumabilityConfig
from google.adk.tools import FunctionTool

from agui_app.agents.audit import AuditTrail
from agui_app.agents.guardrails import Guardrails, load_guardrails
from agui_app.agents.injection import load_classifier
from agui_app.agents.offline_model import register
from agui_app.agents.plugin import OversightPlugin
from agui_app.agents.research import research_pipeline
from agui_app.agents.run_context import current_run
from agui_app.agents.script import load_script
from agui_app.agents.sessions import SessionStore
from agui_app.agents.tools import OrderTools
from agui_app.settings import Settings
from agui_app.telemetry.measures import Measures

APP_NAME = "concierge"
ROOT = "concierge"

_CONCIERGE = """You are the concierge of a furniture shop. Hand over to `orders` for looking up and refunding orders, to
`research` for comparing products, to `scheduling` for delivery slots. Answer greetings yourself, in one sentence."""
_ORDERS = """You look up and refund orders. Use `lookup_order` before you talk about an order. Use `issue_refund` when
the user asks for money back and names the order and the amount; never invent either. Hand over everything else."""
_RESEARCH = (
    """You research products with `research_brief` and report its text as it is. Hand over what is not research."""
)
_SCHEDULING = """You book delivery slots with `book_slot`. Ask for the order and the day if they are missing."""


class _Adk(ADKAgent):  # type: ignore[misc]
    """Lets each run know the task that does its work: ag-ui-adk forgets it, still running, when its reader leaves."""

    async def _start_background_execution(self, *args: Any, **kwargs: Any) -> Any:
        execution = await super()._start_background_execution(*args, **kwargs)
        current_run().execution = execution
        return execution


class Agents:
    """The built agents and the services they stand on. `names` are the agents by name, root first."""

    def __init__(
        self, adk: ADKAgent, sessions: SessionStore, rules: Guardrails, trail: AuditTrail, names: Sequence[str]
    ) -> None:
        self.adk = adk
        self.sessions = sessions
        self.rules = rules
        self.trail = trail
        self.approvals = trail.approvals
        self.names = tuple(names)


def build_agents(
    settings: Settings,
    engine: Any,
    measures: Measures,
    extra_tools: Mapping[str, Sequence[Callable[..., Any]]] | None = None,
) -> Agents:
    """Builds everything from settings; talks to nothing. Raises ScriptError, GuardrailError."""
    if settings.model.startswith("offline/"):
        register(load_script(settings.script))
    with warnings.catch_warnings():
        # resumability is marked experimental by ADK; the versions are pinned and our tests run it over two processes
        warnings.filterwarnings("ignore", message=r"\[EXPERIMENTAL\]")
        return _build(settings, engine, measures, extra_tools or {})


def _build(
    settings: Settings, engine: Any, measures: Measures, extra_tools: Mapping[str, Sequence[Callable[..., Any]]]
) -> Agents:
    rules = load_guardrails(settings.guardrails)
    trail = AuditTrail(engine, settings.revision, measures)
    root = _agent_tree(settings.model, engine, trail, rules, extra_tools)
    app = App(
        name=APP_NAME,
        root_agent=root,
        plugins=[OversightPlugin(rules, trail, measures, load_classifier(settings.classifier))],
        resumability_config=ResumabilityConfig(is_resumable=True),
    )
    sessions = SessionStore(engine)
    adk = _Adk.from_app(
        app,
        user_id_extractor=lambda _: current_run().user_id,
        session_service=sessions,
        use_thread_id_as_session_id=True,
        delete_session_on_cleanup=False,
        save_session_to_memory_on_cleanup=False,
        emit_interrupt_outcome=True,
        emit_messages_snapshot=True,
        # runs that wait for an approval count here until they are answered: our own limit is the real one
        max_concurrent_executions=settings.limits.concurrent_runs * 10,
        execution_timeout_seconds=settings.limits.run_seconds,
    )
    return Agents(adk, sessions, rules, trail, [root.name, *(agent.name for agent in root.sub_agents)])


def _agent_tree(
    model: str,
    engine: Any,
    trail: AuditTrail,
    rules: Guardrails,
    extra: Mapping[str, Sequence[Callable[..., Any]]],
) -> Any:
    tools = OrderTools(engine, trail, rules)

    def agent(name: str, description: str, instruction: str, own: Sequence[Any], **more: Any) -> Any:
        return LlmAgent(
            name=name,
            model=model,
            description=description,
            instruction=instruction,
            tools=[*own, *(FunctionTool(f) for f in extra.get(name, ())), AGUIToolset()],
            **more,
        )

    refund = FunctionTool(tools.issue_refund, require_confirmation=tools.refund_needs_approval)
    specialists = [
        agent("orders", "Looks up and refunds orders.", _ORDERS, [FunctionTool(tools.lookup_order), refund]),
        agent("research", "Researches and compares products.", _RESEARCH, [research_pipeline(engine)]),
        agent("scheduling", "Books delivery slots.", _SCHEDULING, [FunctionTool(tools.book_slot)]),
    ]
    return agent(ROOT, "Greets and hands over.", _CONCIERGE, [], sub_agents=specialists)

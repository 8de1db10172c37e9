"""The plugin's count of tool calls: so many a run, and the next run begins anew."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agui_app.agents.guardrails import load_guardrails
from agui_app.agents.plugin import OversightPlugin
from agui_app.agents.run_context import RunContext, current_run, enter_run
from agui_app.settings import PACKAGE
from agui_app.telemetry.measures import Measures


class Trail:
    """Keeps what would be written."""

    def __init__(self) -> None:
        self.found: list[tuple[str, dict]] = []

    async def finding(self, finding, **where) -> None:
        self.found.append((finding.rule, where))


@pytest.fixture
def oversight():
    trail = Trail()
    rules = load_guardrails(PACKAGE / "data" / "guardrails.yaml")
    return OversightPlugin(rules, trail, Measures()), trail


async def call(plugin, tool: str):
    context = SimpleNamespace(
        tool_confirmation=None, agent_name="orders", invocation_id="e-1", session=SimpleNamespace(events=[])
    )
    return await plugin.before_tool_callback(tool=SimpleNamespace(name=tool), tool_args={}, tool_context=context)


async def test_twelve_calls_pass_and_the_thirteenth_is_stopped_and_recorded(oversight):
    plugin, trail = oversight
    enter_run(RunContext("ann", "t1", "r1"))
    assert [await call(plugin, "lookup_order") for _ in range(12)] == [None] * 12
    assert trail.found == []
    stopped = await call(plugin, "lookup_order")
    assert (stopped["status"], stopped["rule"]) == ("blocked", "tool_budget")
    assert stopped["message"] == "I made too many attempts at this. Please say it another way."
    where = {"agent": "orders", "user_id": "ann", "session_id": "t1", "invocation_id": "e-1"}
    assert trail.found == [("tool_budget", where | {"details": {"tool": "lookup_order"}})]
    (name, value) = current_run().notes[0]
    assert (name, value["rule"], value["stage"]) == ("guardrail.block", "tool_budget", "tool")
    enter_run(RunContext("ann", "t1", "r2"))
    assert await call(plugin, "lookup_order") is None


async def test_handing_over_and_asking_are_no_tool_calls(oversight):
    plugin, _ = oversight
    enter_run(RunContext("ann", "t1", "r1"))
    for _ in range(20):
        assert await call(plugin, "transfer_to_agent") is None
        assert await call(plugin, "adk_request_confirmation") is None
    assert current_run().tool_calls == 0

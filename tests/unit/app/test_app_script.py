"""The offline model's script: what it says is decided by the words and the tool results alone."""

from __future__ import annotations

import pytest
from google.adk.flows.llm_flows.context._fencing import OTHER_AGENT_CONTEXT_PREAMBLE
from google.adk.models.llm_request import LlmRequest
from google.genai import types

from agui_app.agents.offline_model import OfflineModel, last_words, register
from agui_app.agents.script import Call, Say, Script, ScriptError, ToolAnswer, load_script, react
from agui_app.settings import PACKAGE

SCRIPT = load_script(PACKAGE / "data" / "script.yaml")


@pytest.mark.parametrize(
    ("agent", "words", "reaction"),
    [
        ("concierge", "Refund order 42 for 80", Call("transfer_to_agent", {"agent_name": "orders"})),
        ("concierge", "schedule order 42 on monday", Call("transfer_to_agent", {"agent_name": "scheduling"})),
        ("concierge", "research lamps", Call("transfer_to_agent", {"agent_name": "research"})),
        ("orders", "refund order 42 for 80", Call("issue_refund", {"order_id": 42, "amount": 80})),
        ("orders", "refund $12.50 on #7", Call("issue_refund", {"order_id": 7, "amount": 12.5})),
        ("orders", "WHERE IS ORDER #9?", Call("lookup_order", {"order_id": 9})),
        ("research", "compare oak bookshelf, please.", Call("research_brief", {"topic": "oak bookshelf, please"})),
        (
            "scheduling",
            "book 42 for friday evening",
            Call("book_slot", {"order_id": 42, "day": "friday", "slot": "evening"}),
        ),
    ],
)
def test_words_become_calls(agent, words, reaction):
    assert react(SCRIPT, agent, words, []) == reaction


def test_a_tool_result_becomes_words_and_the_last_one_counts():
    found = ToolAnswer(
        "lookup_order", {"order_id": 4, "item": "rug", "amount": "9.00", "currency": "USD", "status": "x"}
    )
    assert react(SCRIPT, "orders", "order 4", [found]) == Say("Order 4: rug for 9.00 USD, x.")
    refused = ToolAnswer("issue_refund", {"status": "blocked", "message": "No."})
    assert react(SCRIPT, "orders", "order 4", [found, refused]) == Say("I may not do that. No.")


def test_an_error_is_not_dressed_up_as_a_result():
    missing = ToolAnswer("lookup_order", {"error": "no tool with that name"})
    assert react(SCRIPT, "orders", "order 4", [missing]) == Say("That did not work: no tool with that name")
    rejected = ToolAnswer("issue_refund", {"error": "This tool call is rejected."})
    assert react(SCRIPT, "orders", "x", [rejected]) == Say("The refund was not approved, so nothing was paid back.")


def test_an_agent_without_a_part_is_an_error():
    with pytest.raises(ScriptError, match="no part for agent 'gardener'"):
        react(SCRIPT, "gardener", "hello", [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nagents: {a: {rules: [{when: '('}]}}", "not a regular expression"),
        ("version: 1\nagents: {a: {rules: [{when: x}]}}", "exactly one of say, call, transfer"),
        ("version: 1\nagents: {a: {rules: [{when: x, say: y, transfer: z}]}}", "exactly one of say, call, transfer"),
        ("version: 2\nagents: {}", "version"),
        ("version: 1\nagents: {a: {rulez: []}}", "rulez"),
        ("- [", "script.yaml"),
    ],
)
def test_a_wrong_script_is_refused_at_start(tmp_path, text, said):
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(ScriptError, match=said.replace("(", r"\(")):
        load_script(path)


def content(role: str, *parts: types.Part) -> types.Content:
    return types.Content(role=role, parts=list(parts))


def answer(name: str, **result: object) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(name=name, response=dict(result)))


def test_the_users_words_are_found_behind_what_other_agents_did():
    contents = [
        content("user", types.Part(text="refund order 4 for 1")),
        content("user", types.Part(text=OTHER_AGENT_CONTEXT_PREAMBLE), types.Part(text="[concierge] called a tool")),
        content("user", answer("transfer_to_agent", result=None)),
        content("user", answer("issue_refund", status="refunded")),
    ]
    words, answers = last_words(contents)
    assert words == "refund order 4 for 1"
    assert answers == [ToolAnswer("issue_refund", {"status": "refunded"})]


def test_answers_of_earlier_turns_do_not_count():
    contents = [content("user", answer("lookup_order", status="x")), content("user", types.Part(text="hello"))]
    assert last_words(contents) == ("hello", [])


async def turn(script: Script, words: str, stream: bool) -> list:
    register(script)
    request = LlmRequest(contents=[content("user", types.Part(text=words))])
    request.config.labels = {"adk_agent_name": "orders"}
    return [response async for response in OfflineModel(model="offline/script").generate_content_async(request, stream)]


async def test_a_stream_is_chunks_then_the_whole():
    responses = await turn(SCRIPT, "hm", True)
    *chunks, whole = responses
    assert all(chunk.partial for chunk in chunks)
    assert not whole.partial
    assert "".join(chunk.content.parts[0].text for chunk in chunks) == whole.content.parts[0].text
    assert len(chunks) > 3


async def test_the_same_conversation_makes_the_same_call():
    first = (await turn(SCRIPT, "order 4", False))[0].content.parts[0].function_call
    again = (await turn(SCRIPT, "order 4", True))[0].content.parts[0].function_call
    other = (await turn(SCRIPT, "order 5", False))[0].content.parts[0].function_call
    assert (first.id, first.name, first.args) == (again.id, "lookup_order", {"order_id": 4})
    assert other.id != first.id

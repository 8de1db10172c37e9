"""A secret in a place from which words go out: errors of models, tools and starts, and the schema's name."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import psycopg
import pytest

from agui_app.runs.endings import CODES, worded
from agui_app.telemetry.logs import secrets_of
from agui_dev.ports import free_port
from agui_dev.testbed.app_instance import app_environment, json_lines, said, text_of

pytestmark = pytest.mark.no_cover  # other tests reach the lines; a measured run takes twice as long

CANARY = "canary-9c41-secret"
EXTENSION = """
    import os

    from google.adk.models.llm_response import LlmResponse
    from google.adk.tools.tool_context import ToolContext
    from google.genai import types

    from agui_app.agents.offline_model import OfflineModel, last_words

    original = OfflineModel.generate_content_async
    CANARY = os.environ["PAYMENT_API_KEY"]

    async def leaking(self, llm_request, stream=False):
        words, _ = last_words(llm_request.contents)
        if "model error" in words:
            yield LlmResponse(error_code=CANARY, error_message=f"the key {CANARY} is wrong")
            return
        if "model says" in words:
            part = types.Part(text=f"the key is {CANARY} indeed")
            yield LlmResponse(content=types.Content(role="model", parts=[part]))
            return
        if "model exception" in words:
            raise RuntimeError(f"the key {CANARY} is wrong")
        async for answer in original(self, llm_request, stream):
            yield answer

    OfflineModel.generate_content_async = leaking

    class Coded(Exception):
        code = CANARY

    def tools(engine):
        async def estimate_delivery(order_id: int) -> dict:
            "Estimates a delivery."
            raise Coded(f"the carrier refused {CANARY}")

        async def quote_delivery(order_id: int, tool_context: ToolContext) -> dict:
            "Quotes a delivery, and says with which key."
            tool_context.state["carrier"] = {"key": CANARY}
            return {"key": CANARY}

        async def book_express(order_id: int, tool_context: ToolContext) -> dict:
            "Books a delivery once somebody agrees."
            if tool_context.tool_confirmation is None:
                tool_context.request_confirmation(hint=f"Book with {CANARY}?", payload={"key": CANARY})
                return {"error": f"not confirmed, {CANARY}"}
            return {"key": CANARY}

        return {"orders": [estimate_delivery, quote_delivery, book_express]}
    """


@pytest.fixture(scope="module")
def leaking(app_database, tmp_path_factory):
    """An instance whose model, tool and schema say the secret of its environment."""
    from agui_dev.testbed.app_instance import AppStarter

    folder = tmp_path_factory.mktemp("words")
    (folder / "leaking.py").write_text(textwrap.dedent(EXTENSION))
    (folder / "script.yaml").write_text(
        "version: 1\nagents:\n  concierge: {rules: [{when: tool, transfer: orders}]}\n"
        "  orders:\n    rules:\n    - {when: tool error, call: estimate_delivery, with: {order_id: 42}}\n"
        "    - {when: tool quote, call: quote_delivery, with: {order_id: 42}}\n"
        "    - {when: tool express, call: book_express, with: {order_id: 42}}\n"
        "    answers:\n    - {after: quote_delivery, say: 'It is {key} indeed.'}\n"
    )
    starter = AppStarter(folder)
    try:
        yield starter(
            app_database,
            AGUI_EXTENSIONS="leaking",
            AGUI_SCRIPT=str(folder / "script.yaml"),
            PAYMENT_API_KEY=CANARY,
            PYTHONPATH=str(folder),
            LOG_LEVEL="debug",
        )
    finally:
        starter.stop_all()


@pytest.mark.parametrize("words", ["model error", "model exception", "tool error"])
def test_no_error_of_a_run_says_a_secret(leaking, app_database, words):
    last = nothing_leaks(leaking, app_database, words)[-1]
    if words != "model error":  # an answer with an error is an empty answer to ag-ui-adk
        assert CODES[last["code"]] == last["message"]


def test_an_agent_that_repeats_a_secret_is_not_heard(leaking, app_database):
    """From the model itself, from a tool's answer, in the state, and in a question to the user."""
    assert "the key is [hidden] indeed" in text_of(nothing_leaks(leaking, app_database, "model says"))
    quoted = nothing_leaks(leaking, app_database, "tool quote")
    assert "It is [hidden] indeed." in text_of(quoted)
    results = [event["content"] for event in quoted if event["type"] == "TOOL_CALL_RESULT"]
    assert any("[hidden]" in content for content in results), "the tool was not called"
    asked = nothing_leaks(leaking, app_database, "tool express")
    assert asked[-1]["outcome"]["interrupts"][0]["message"] == "Book with [hidden]?"


def nothing_leaks(leaking, app_database, words):
    """Runs it, looks into everything that leaves, and gives the events."""
    thread = words.replace(" ", "-")
    events = leaking.run(said(thread, words))
    replay = leaking.post("/copilotkit/agent/default/connect", {"threadId": thread, "runId": "c"}).text
    with psycopg.connect(app_database) as connection:
        runs = connection.execute("SELECT outcome::text FROM agent_runs WHERE thread_id = %s", (thread,)).fetchall()
        sent = connection.execute("SELECT event FROM run_events WHERE thread_id = %s", (thread,)).fetchall()
    for place in (events, replay, runs, sent):
        assert CANARY not in json.dumps(place)
    assert CANARY not in leaking.log_path.read_text()
    return events


def test_version_and_readiness_say_no_secret(leaking, app_database):
    assert CANARY not in leaking.get("/version").text + leaking.get("/readyz").text
    with psycopg.connect(app_database) as connection:
        before = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        connection.execute("UPDATE alembic_version SET version_num = %s", (CANARY,))
    try:
        assert leaking.get("/version").json()["schema"]["database"] == "unknown"
        assert CANARY not in leaking.get("/version").text + leaking.get("/readyz").text
    finally:
        with psycopg.connect(app_database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", (before,))


def test_a_start_that_fails_says_no_secret(tmp_path, app_database):
    """Its last line is what a platform may repeat in the status of the revision."""
    (tmp_path / "broken.py").write_text("import os\nraise KeyError('no ' + os.environ['PAYMENT_API_KEY'])\n")
    env = app_environment(
        app_database, AGUI_EXTENSIONS="broken", PAYMENT_API_KEY=CANARY, PYTHONPATH=str(tmp_path), PORT=str(free_port())
    )
    done = subprocess.run([sys.executable, "-m", "agui_app"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert json_lines(done.stdout)[-1]["message"] == "the application cannot start: KeyError"
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("code", [CANARY, None, 7, {"a": CANARY}, "", "agent_error"])
def test_a_code_that_is_not_documented_becomes_one_that_is(code):
    event = worded({"type": "RUN_ERROR", "message": CANARY, "code": code, "rawEvent": {"x": CANARY}})
    assert event == {"type": "RUN_ERROR", "message": "The agent failed.", "code": "AGENT_ERROR"}


def test_secrets_are_known_by_their_names_and_places():
    env = {
        "DB_PASSWORD": "hunter2-long",
        "X_TOKEN": "tok",
        "DATABASE_URL": "postgresql://a:p%40ss-word@h/n",
        "HOME": "/x",
    }
    assert secrets_of(env) == ("hunter2-long", "p@ss-word")

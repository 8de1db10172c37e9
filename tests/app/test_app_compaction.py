"""A long conversation stays as quick, as whole and as bounded as a short one, and nothing of it is summarised away."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import event

from agui_app.agents.sessions import SessionStore
from agui_app.database.engine import create_engine
from agui_app.database.passwords import Connector
from agui_app.settings import database_settings
from agui_dev.testbed.app_instance import interrupt_of, json_lines, migrate, resumed, said, text_of

pytestmark = pytest.mark.no_cover  # other tests reach the lines; a measured run takes twice as long

TURNS = 40


@pytest.fixture(scope="module")
def conversation(app_instances):
    """40 turns as a browser has them, each with the whole history, on two instances in turn."""
    history: list[dict] = []
    for number in range(TURNS):
        app = app_instances[number % 2]
        body = said("long", f"where is order {50 + number}")
        body["messages"] = [*history, *body["messages"]]
        events = app.run(body)
        assert text_of(events).startswith(f"Order {50 + number}:"), events
        (snapshot,) = [e["messages"] for e in events if e["type"] == "MESSAGES_SNAPSHOT"]
        history = snapshot


@pytest.mark.usefixtures("conversation")
async def test_a_turn_reads_what_is_new_and_not_the_conversation(app_database):
    """However long it is: each look of a process that knows the thread costs one statement and no event."""
    engine = create_engine(Connector(database_settings({"DATABASE_URL": app_database})))
    store = SessionStore(engine)
    who = {"app_name": "concierge", "user_id": "developer", "session_id": "long"}
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    try:
        first = await store.get_session(**who)
        assert len(first.events) > 3 * TURNS
        assert sum("event_data" in statement for statement in statements) == 1
        statements.clear()
        for _ in range(5):
            again = await store.get_session(**who)
        assert again.events == first.events
        assert [s for s in statements if "event_data" in s] == []
    finally:
        await engine.dispose()


@pytest.mark.usefixtures("conversation")
def test_an_approval_can_be_asked_and_given_after_forty_turns(app_instances, app_database):
    first, second = app_instances
    asked = first.say("long", "refund order 42 for 80")
    replay = second.run({"threadId": "long", "runId": "c"}, path="/copilotkit/agent/default/connect")
    shown = next(e["messages"] for e in replay if e["type"] == "MESSAGES_SNAPSHOT")
    words = [message["content"] for message in shown if message["role"] == "user"]
    assert words == [f"where is order {50 + number}" for number in range(TURNS)] + ["refund order 42 for 80"]
    assert interrupt_of(replay) == interrupt_of(asked)
    answered = second.run(resumed("long", interrupt_of(asked), True))
    assert text_of(answered) == "I refunded 80.00 USD on order 42."
    done = migrate(app_database, "verify", "session-state")
    assert [line for line in json_lines(done.stdout) if line["event"] == "finding"] == []


def test_what_a_thread_keeps_is_bounded(start_app, app_database):
    """The ledger of messages grows by a few keys a run, and a thread has so many runs and no more."""
    app = start_app(app_database, AGUI_MAX_MESSAGES_PER_THREAD="3")
    app.say("small", "hello")
    app.say("small", "hello")
    asked = app.say("small", "refund order 42 for 80")
    refused = app.post("/agent", said("small", "hello"))
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_input")
    assert refused.json()["message"] == "a thread may have 3 messages; start a new one"
    # what is open in it can still be answered
    assert "I refunded" in text_of(app.run(resumed("small", interrupt_of(asked), True)))
    assert app.post("/agent", said("small", "hello")).status_code == 422
    assert text_of(app.say("other", "hello")).startswith("Hello!")
    with psycopg.connect(app_database) as connection:
        (state,) = connection.execute("SELECT state FROM sessions WHERE id = 'small'").fetchone()
    assert len([key for key in state if key.startswith("_ag_ui_processed_message:")]) <= 4 * 4

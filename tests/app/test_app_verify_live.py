"""The checks of a living database see one moment: whoever writes while they read, they find nothing wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa

from agui_app.migrate.command import run_checks
from agui_app.migrate.verify import CHECKS
from agui_dev.testbed.app_instance import seeded_database

SESSIONS = 40
RUNS = 20
_APPEND = (
    "INSERT INTO events (id, app_name, user_id, session_id, invocation_id, timestamp, event_data)"
    " VALUES (%(id)s, 'concierge', 'u', %(session)s, 'i', %(at)s, %(data)s)"
)


class Customers:
    """Conversations that go on, one connection for all."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url)
        self.turns = dict.fromkeys((f"s{number:02d}" for number in range(SESSIONS)), 0)
        for session in self.turns:
            self.connection.execute(
                "INSERT INTO sessions VALUES ('concierge', 'u', %s, '{}', now(), now() - interval '1 day')", (session,)
            )
            self.append(session)

    def append(self, session: str, seconds: float = 0, key: str = "turn") -> None:
        """The next event as ADK appends it: event, state and update time in one transaction. `seconds`: added to its
        time; `key`: of the state that it changes."""
        self.turns[session] += 1
        turn = self.turns[session]
        (at,) = self.connection.execute(
            "SELECT clock_timestamp()::timestamp + make_interval(secs => %s)", (seconds,)
        ).fetchone() or (None,)
        parts: list[dict[str, Any]] = [{"function_call": {"id": f"c{turn}", "name": "look_up", "args": {}}}]
        if turn > 1:
            parts.append({"function_response": {"id": f"c{turn - 1}", "name": "look_up", "response": {}}})
        data = {"content": {"parts": parts}, "actions": {"state_delta": {key: turn}}}
        known = {"id": f"{session}-{turn:09d}", "session": session, "at": at, "data": json.dumps(data)}
        self.connection.execute(_APPEND, known)
        self.connection.execute(
            "UPDATE sessions SET state = state || %s, update_time = %s WHERE id = %s",
            (json.dumps({key: turn}), at, session),
        )
        self.connection.commit()

    def all_go_on(self) -> None:
        """A turn in every conversation, and a research run and a refund that begin and end."""
        for session in self.turns:
            self.append(session)
        turn = self.turns["s00"]
        self._commit(
            "INSERT INTO briefs (id, user_id, session_id, topic, status) VALUES (%s, 'u', 's00', 'desk', 'running')",
            f"b{turn}",
        )
        self._commit(
            "UPDATE briefs SET status = 'complete', findings = '[1]', text = 'oak', completed_at = now() WHERE id = %s",
            f"b{turn}",
        )
        self._commit("INSERT INTO refunds SELECT 'u', 's00', %s, id, 0 FROM orders WHERE id = 42", f"c{turn}")

    def _commit(self, statement: LiteralString, *values: str) -> None:
        self.connection.execute(statement, values)
        self.connection.commit()


@pytest.fixture(scope="module")
def database(postgres_server) -> Iterator[str]:
    url = seeded_database(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def customers(database) -> Iterator[Customers]:
    customers = Customers(database)
    with customers.connection:
        yield customers


@pytest.fixture(autouse=True)
def settings(database, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database)


def said(captured: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in captured.splitlines()]
    return [line for line in lines if line["event"] == "finding"]


@pytest.mark.parametrize("check", CHECKS)
def test_a_turn_between_two_statements_of_a_check_is_not_seen(customers, check, capsys):
    """After each of the first statements of the check, every conversation goes on by one turn."""
    statements = []

    def go_on(connection, cursor, statement, *_) -> None:
        if len(statements) < 5:
            customers.all_go_on()
        statements.append(statement)

    sa.event.listen(sa.Engine, "after_cursor_execute", go_on)
    try:
        found = run_checks([check])
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", go_on)
    assert len(statements) >= 2
    assert (found, said(capsys.readouterr().out)) == ([], [])


def test_customers_who_type_all_the_time_fail_no_check(customers, capsys):
    stop, rounds = threading.Event(), [0]

    def type_on() -> None:
        while not stop.is_set():
            customers.all_go_on()
            rounds[0] += 1

    typing = threading.Thread(target=type_on)
    typing.start()
    try:
        for _ in range(RUNS):
            run_checks(list(CHECKS))
    finally:
        stop.set()
        typing.join(30)
    assert rounds[0] > 0
    assert said(capsys.readouterr().out) == []


def test_all_checks_of_a_run_read_in_one_transaction_that_cannot_write(customers, monkeypatch):
    seen: list[tuple[Any, ...]] = []

    def look(connection: sa.Connection, migrations: object) -> Iterator[dict[str, Any]]:
        statement = sa.text(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
            " pg_current_snapshot()::text"
        )
        seen.append(tuple(connection.execute(statement).one()))
        customers.all_go_on()
        yield from ()

    monkeypatch.setitem(CHECKS, "first", look)
    monkeypatch.setitem(CHECKS, "second", look)
    run_checks(["first", "second"])
    assert seen[0][:2] == ("repeatable read", "on")
    assert seen[0] == seen[1]


def test_an_event_that_began_earlier_and_ended_later_is_no_finding(customers, capsys):
    """An agent that runs beside another, or an instance whose clock is behind, appends an event with an older time.
    ADK sets the session's update time to the time of the event that it appends."""
    customers.append("s01", seconds=1)
    customers.append("s01", seconds=-1, key="beside")
    assert run_checks(["session-state"]) == [], capsys.readouterr().out


def test_an_update_time_that_belongs_to_no_event_is_a_finding(customers, capsys):
    customers.connection.execute("UPDATE sessions SET update_time = update_time - interval '1 hour' WHERE id = 's02'")
    customers.connection.commit()
    try:
        assert run_checks(["session-state"]) == ["session-state: updated_before_last_event (session s02)"]
    finally:
        customers.append("s02")
    (finding,) = said(capsys.readouterr().out)
    assert (finding["finding"], finding["session"]) == ("updated_before_last_event", "s02")

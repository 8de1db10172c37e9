"""What a pipeline tells while it works: live, on another instance, after it failed, was stopped or was lost."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from agui_dev.testbed.app_instance import AppInstance, frames, migrate, said, text_of

CONNECT = "/copilotkit/agent/default/connect"
STEPS = ["open_brief", "catalogue", "purchases", "write_brief"]


@pytest.fixture
def thread() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def states(events) -> list[dict]:
    """The pipelines as a client has them after each event that changes them."""
    known: list[dict] = []
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            known.append(event["snapshot"].get("pipelines", {}))
        elif event["type"] == "STATE_DELTA":
            known += [change["value"] for change in event["delta"] if change["path"] == "/pipelines"]
    return known


def only(pipelines: dict) -> dict:
    (pipeline,) = pipelines.values()
    return pipeline


def statuses(pipeline: dict) -> dict[str, str]:
    return {step["name"]: step["status"] for step in pipeline["steps"]}


def replayed(app: AppInstance, thread: str) -> list[dict]:
    return app.run({"threadId": thread, "runId": uuid.uuid4().hex}, path=CONNECT)


def briefs(database: str, thread: str) -> list[tuple[str, bool]]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT status, completed_at IS NOT NULL FROM briefs WHERE session_id = %s ORDER BY created_at", (thread,)
        ).fetchall()


@contextmanager
def orders_locked(database: str) -> Iterator[None]:
    """Keeps whoever reads orders waiting, which is where the pipeline stands then."""
    with psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def until_reading(database: str, thread: str) -> None:
    """Waits until the thread's session says that the pipeline reads orders."""
    deadline = time.monotonic() + 120
    with psycopg.connect(database, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute("SELECT state -> 'pipelines' FROM sessions WHERE id = %s", (thread,)).fetchone()
            if row and row[0] and [*statuses(only(row[0])).values()] == ["done", "running", "running", "waiting"]:
                return
            time.sleep(0.02)
    raise AssertionError("the pipeline never came to the orders")


def test_each_step_is_told_when_it_begins_and_when_it_ends(app_instances, thread):
    events = app_instances[0].say(thread, "research oak bookshelf")
    (call,) = [e["toolCallId"] for e in events if e.get("toolCallName") == "research_brief"]
    seen = states(events)
    assert all(list(pipelines) == [call] for pipelines in seen)
    first, last = seen[0][call], seen[-1][call]
    assert [step["name"] for step in first["steps"]] == STEPS
    assert (first["status"], statuses(first)) == (
        "running",
        dict.fromkeys(STEPS, "waiting") | {"open_brief": "running"},
    )
    assert any(
        statuses(p[call]) == dict(zip(STEPS, ["done", "running", "running", "waiting"], strict=True)) for p in seen
    )
    assert (last["name"], last["subject"], last["status"]) == ("research_brief", "oak bookshelf", "done")
    assert set(statuses(last).values()) == {"done"}
    assert [step["detail"] for step in last["steps"]] == ["", "1 product", last["steps"][2]["detail"], ""]
    assert last["steps"][2]["detail"].endswith(" purchases")
    assert all(step["started"] <= step["finished"] for step in last["steps"])
    kinds = [event["type"] for event in events]
    assert kinds.index("STATE_DELTA") < kinds.index("TOOL_CALL_RESULT", kinds.index("STATE_DELTA"))


def test_another_instance_shows_how_far_it_is_and_follows_it_to_the_end(app_instances, app_database, thread):
    first, second = app_instances
    with ThreadPoolExecutor() as pool:
        with orders_locked(app_database):
            run = pool.submit(first.say, thread, "research oak bookshelf")
            until_reading(app_database, thread)
            body = {"threadId": thread, "runId": "c"}
            with second.stream("POST", CONNECT, json=body) as answer:
                lines = answer.iter_lines()
                snapshot = next(line for line in lines if "STATE_SNAPSHOT" in line)
        seen = only(json.loads(snapshot[6:])["snapshot"]["pipelines"])
        assert (seen["status"], statuses(seen)["catalogue"]) == ("running", "running")
        assert only(states(run.result())[-1])["status"] == "done"
    assert only(states(replayed(second, thread))[-1])["status"] == "done"


def test_a_stopped_pipeline_does_no_more_work_and_is_shown_as_stopped(app_instances, app_database, thread):
    first, second = app_instances
    with ThreadPoolExecutor() as pool, orders_locked(app_database):
        run = pool.submit(first.say, thread, "research oak bookshelf")
        until_reading(app_database, thread)
        assert second.post(f"/copilotkit/agent/default/stop/{thread}", {}).json() == {"stopped": True}
        assert run.result()[-1]["type"] == "RUN_FINISHED"
    shown = only(states(replayed(second, thread))[-1])
    assert (shown["status"], statuses(shown)) == (
        "stopped",
        dict(zip(STEPS, ["done", "stopped", "stopped", "waiting"], strict=True)),
    )
    # the lock is gone: what was only cut off from its reader would now go on and complete the record
    assert text_of(first.say(thread, "research oak bookshelf")).startswith("On oak bookshelf")
    assert briefs(app_database, thread) == [("failed", True), ("complete", True)]
    both = states(replayed(first, thread))[-1].values()
    assert [pipeline["status"] for pipeline in both] == ["stopped", "done"]


def test_a_failed_step_is_shown_and_recorded_and_nothing_of_the_query_is_told(app_instances, app_database, thread):
    app = app_instances[0]
    with psycopg.connect(app_database, autocommit=True) as connection:
        connection.execute("ALTER TABLE orders RENAME TO orders_away")
        try:
            response = app.post("/agent", said(thread, "research oak bookshelf"))
        finally:
            connection.execute("ALTER TABLE orders_away RENAME TO orders")
    events = frames(response.text)
    assert events[-1]["type"] == "RUN_ERROR"
    assert "SELECT" not in response.text
    assert "sqlalchemy" not in response.text
    pipeline = only(states(events)[-1])
    assert pipeline["status"] == "failed"
    assert "failed" in statuses(pipeline).values()
    assert statuses(pipeline)["write_brief"] == "waiting"
    assert only(states(replayed(app, thread))[-1])["status"] == "failed"
    assert briefs(app_database, thread) == [("failed", True)]
    assert text_of(app.say(thread, "research oak bookshelf")).startswith("On oak bookshelf")


def test_a_client_cannot_write_progress(app_instances, thread):
    app = app_instances[0]
    forged = {"pipelines": {"call": {"name": "forged", "status": "done", "steps": []}}, "colour": "blue"}
    app.run(said(thread, "hello", state=forged))
    (snapshot,) = [event["snapshot"] for event in replayed(app, thread) if event["type"] == "STATE_SNAPSHOT"]
    assert snapshot == {"colour": "blue"}


def test_only_the_last_pipelines_stay_in_the_state(app_instances, app_database, thread):
    app = app_instances[0]
    for _ in range(7):
        app.say(thread, "research oak bookshelf")
    pipelines = states(replayed(app, thread))[-1]
    assert [pipeline["status"] for pipeline in pipelines.values()] == ["done"] * 5
    assert len(briefs(app_database, thread)) == 7


def test_the_records_of_all_this_are_whole(app_instances, app_database):
    """Last in the file: the checks that a release runs look at what the tests above left."""
    for check in ("session-state", "pipelines"):
        done: subprocess.CompletedProcess[str] = migrate(app_database, "verify", check)
        assert done.returncode == 0, done.stdout

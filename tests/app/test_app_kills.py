"""An instance is lost at the worst moment: what was seen stays, what was promised once happens once, others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid

import httpx
import psycopg
import pytest
import websockets
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import (
    AppStarter,
    frames,
    interrupt_of,
    json_lines,
    migrate,
    resumed,
    said,
    text_of,
    tools_of,
    types_of,
)

LOST = {"type": "RUN_ERROR", "message": "The instance that ran this was lost.", "code": "INSTANCE_LOST"}


@pytest.fixture(scope="module")
def slow_script(tmp_path_factory):
    """The packaged script, spoken slowly."""
    script = yaml.safe_load((ROOT / "app/agui_app/data/script.yaml").read_text())
    path = tmp_path_factory.mktemp("kills") / "slow.yaml"
    path.write_text(yaml.safe_dump(script | {"pause_ms": 80, "words_per_chunk": 1}))
    return str(path)


@pytest.fixture(scope="module")
def survivor(app_database, app_forks, slow_script, tmp_path_factory):
    """The instance that all tests leave alone."""
    starter = AppStarter(tmp_path_factory.mktemp("survivor"), app_forks)
    try:
        yield starter(app_database, AGUI_SCRIPT=slow_script)
    finally:
        starter.stop_all()


@pytest.fixture
def pair(start_app, app_database, slow_script, survivor):
    """Two instances on one database; the first one is going to be killed."""
    return [start_app(app_database, AGUI_SCRIPT=slow_script), survivor]


@pytest.fixture
def thread() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def age_heartbeats(url: str) -> None:
    """As if the instances had been silent for a minute, so that no test waits for that."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE agent_runs SET heartbeat_at = now() - interval '1 minute' WHERE status = 'running'")


def wait_until(true, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_twenty_watchers_of_a_killed_instance_are_told_by_the_other(pair, app_database):
    first, second = pair

    async def watch(number: int) -> list[tuple[int, dict]]:
        thread, seen, last = f"watch-{number}", [], 0
        for app in (first, second):
            headers = {"X-Agui-User": f"user-{number}"}
            url = f"{app.ws_url}/ws/{thread}?last={last}"
            async with websockets.connect(url, additional_headers=headers) as socket:
                if app is first:
                    await socket.send(json.dumps({"type": "run", "message": "where is order 42"}))
                with contextlib.suppress(websockets.ConnectionClosedError):
                    while not seen or seen[-1][1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"):
                        frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
                        if frame["type"] == "event":
                            seen.append((frame["seq"], frame["event"]))
                            last = frame["seq"]
                            talking[number].set()
        return seen

    talking = [asyncio.Event() for _ in range(20)]
    watchers = [asyncio.create_task(watch(number)) for number in range(20)]
    async with asyncio.timeout(30):
        await asyncio.gather(*(spoke.wait() for spoke in talking))
    first.kill()
    age_heartbeats(app_database)
    # nobody asks for anything: the survivor finds the lost runs by itself
    all_seen = await asyncio.gather(*watchers)
    with psycopg.connect(app_database) as connection:
        for number, seen in enumerate(all_seen):
            rows = connection.execute(
                "SELECT seq, event FROM run_events WHERE thread_id = %s ORDER BY seq", (f"watch-{number}",)
            ).fetchall()
            assert seen == [(seq, json.loads(event)) for seq, event in rows]
    ends = [seen[-1][1] for seen in all_seen]
    assert [end for end in ends if end["type"] == "RUN_ERROR"] == [LOST] * sum(e["type"] == "RUN_ERROR" for e in ends)
    assert LOST in ends
    again = await asyncio.to_thread(second.say, "watch-0", "where is order 43", headers={"X-Agui-User": "user-0"})
    assert text_of(again).startswith("Order 43:")


def test_an_approval_outlives_the_instance_that_asked(pair, app_database, thread):
    first, second = pair
    asked = first.say(thread, "refund order 42 for 80")
    first.kill()
    replay = second.run({"threadId": thread, "runId": "c"}, path="/copilotkit/agent/default/connect")
    assert interrupt_of(replay) == interrupt_of(asked)
    answered = second.run(resumed(thread, interrupt_of(asked), True))
    assert text_of(answered) == "I refunded 80.00 USD on order 42."
    assert refunds(app_database, thread) == 1


def test_an_instance_killed_while_it_pays_has_paid_once_or_not_at_all_and_the_thread_goes_on(
    pair, app_database, thread
):
    """The kill hits between the approval and the end of the tool; the answer can be given again on the other one."""
    first, second = pair
    asked = first.say(thread, "refund order 42 for 80")
    with psycopg.connect(app_database) as holder:
        holder.execute("SELECT 1 FROM orders WHERE id = 42 FOR UPDATE")  # the tool waits for this row
        begin_without_waiting(first, resumed(thread, interrupt_of(asked), True))
        wait_until(lambda: waiting_for_a_lock(app_database))
        first.kill()
    age_heartbeats(app_database)
    again = second.run(resumed(thread, interrupt_of(asked), True))
    assert text_of(again) == "I refunded 80.00 USD on order 42.", again
    assert refunds(app_database, thread) == 1
    replay = second.run({"threadId": thread, "runId": "c"}, path="/copilotkit/agent/default/connect")
    assert cut_short(replay) == [], "the answer came in the end"
    later = second.say(thread, "where is order 43")
    assert tools_of(later) == ["lookup_order"]
    assert text_of(later).startswith("Order 43:")


def test_an_instance_killed_inside_a_tool_leaves_a_thread_that_works(pair, app_database, thread):
    first, second = pair
    with psycopg.connect(app_database) as holder:
        holder.execute("SELECT 1 FROM orders WHERE id = 44 FOR UPDATE")
        begin_without_waiting(first, said(thread, "refund order 44 for 1"))
        wait_until(lambda: waiting_for_a_lock(app_database))
        first.kill()
    refused = second.post("/agent", said(thread, "hello"))
    assert (refused.status_code, refused.json()["error"]) == (409, "thread_busy")  # it may still live
    age_heartbeats(app_database)
    events = second.say(thread, "where is order 43")
    assert text_of(events).startswith("Order 43:"), events
    replay = second.run({"threadId": thread, "runId": "c"}, path="/copilotkit/agent/default/connect")
    said_by_user = [m["content"] for m in replay[1]["messages"] if m["role"] == "user"]
    assert said_by_user == ["refund order 44 for 1", "where is order 43"]
    assert cut_short(replay) == [{"turn": 1, "reason": "INSTANCE_LOST"}]
    assert refunds(app_database, thread) == 0


def test_a_stop_reaches_a_stream_on_the_other_instance_and_a_dead_one_does_no_harm(pair, app_database, thread):
    first, second = pair
    body = said(thread, "hello")
    with first.stream("POST", "/agent", json=body) as stream:
        lines = stream.iter_lines()
        next(line for line in lines if "TEXT_MESSAGE_CONTENT" in line)
        assert second.post(f"/copilotkit/agent/default/stop/{thread}", {}).json() == {"stopped": True}
        rest = frames("\n".join(lines))
    assert types_of(rest)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    begin_without_waiting(first, said(thread, "hello"))
    wait_until(lambda: running(app_database, thread))
    first.kill()
    assert second.post(f"/copilotkit/agent/default/stop/{thread}", {}).json() == {"stopped": True}
    age_heartbeats(app_database)
    wait_until(lambda: not running(app_database, thread))
    assert second.post(f"/copilotkit/agent/default/stop/{thread}", {}).json()["stopped"] is False
    assert second.say(thread, "hello")[-1]["type"] == "RUN_FINISHED"


def test_after_all_this_every_record_is_whole(app_database):
    done = migrate(app_database, "verify", "schema,session-state,pipelines")
    lines = json_lines(done.stdout)
    assert [line for line in lines if line["event"] == "finding"] == []
    assert [line["check"] for line in lines] == ["schema", "session-state", "pipelines"]
    with psycopg.connect(app_database) as connection:
        assert connection.execute("SELECT count(*) FROM agent_runs WHERE status = 'lost'").fetchone() != (0,)


def cut_short(events) -> list:
    return [event["value"] for event in events if event["type"] == "CUSTOM" and event["name"] == "run.cut_short"]


def begin_without_waiting(app, body: dict) -> None:
    """Posts from a thread of its own; the instance is going to die under it."""

    def post() -> None:
        with contextlib.suppress(httpx.HTTPError):
            app.post("/agent", body)

    threading.Thread(target=post, daemon=True).start()


def waiting_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row != (0,)


def running(url: str, thread: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM agent_runs WHERE thread_id = %s AND status = 'running'", (thread,)
        ).fetchone()
    return row != (0,)


def refunds(url: str, thread: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM refunds WHERE session_id = %s", (thread,)).fetchone()
    return row[0]

"""The WebSocket transport on two real instances: numbers without gaps, resume and stop anywhere, lost instances."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from contextlib import asynccontextmanager

import psycopg
import pytest
import websockets
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import said, types_of

SLOW = 120  # ms between the words of an answer


@asynccontextmanager
async def open_socket(app, thread, last=None, **more):
    """A socket after its `ready` frame; gives (socket, ready)."""
    query = "" if last is None else f"?last={last}"
    async with websockets.connect(f"{app.ws_url}/ws/{thread}{query}", **more) as socket:
        yield socket, json.loads(await asyncio.wait_for(socket.recv(), 10))


async def socket_frames(socket, seconds=60):
    """All frames until the other side closes or is lost."""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                yield json.loads(await socket.recv())


async def read_run(socket, seconds=60):
    """(sequence numbers, events) until the run ends."""
    numbers, events = [], []
    async with asyncio.timeout(seconds):
        while True:
            frame = json.loads(await socket.recv())
            if frame["type"] != "event":
                continue
            numbers.append(frame["seq"])
            events.append(frame["event"])
            if frame["event"]["type"] in ("RUN_FINISHED", "RUN_ERROR"):
                return numbers, events


@pytest.fixture
def thread() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def slow_script(tmp_path):
    """The packaged script, spoken slowly."""
    script = yaml.safe_load((ROOT / "app/agui_app/data/script.yaml").read_text())
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(script | {"pause_ms": SLOW, "words_per_chunk": 1}))
    return str(path)


@pytest.fixture
def slow_pair(start_app, seeded_url, slow_script):
    """Two instances whose agents speak slowly."""
    both = [start_app(seeded_url, ready=False, AGUI_SCRIPT=slow_script, K_REVISION=f"slow-{n}") for n in "ab"]
    for app in both:
        app.wait()
    return both


async def test_a_run_streams_numbered_events(app_instances, thread):
    async with open_socket(app_instances[0], thread) as (socket, ready):
        assert ready | {"release": ""} == {
            "type": "ready",
            "threadId": thread,
            "lastSeq": 0,
            "live": False,
            "release": "",
            "revision": "rev-a",
        }
        await socket.send(json.dumps({"type": "run", "message": "where is order 42"}))
        numbers, events = await read_run(socket)
        assert numbers == list(range(1, len(numbers) + 1))
        assert (types_of(events)[0], types_of(events)[-1]) == ("RUN_STARTED", "RUN_FINISHED")
        await socket.send(json.dumps({"type": "run", "message": "and order 43"}))
        again, _ = await read_run(socket)
        assert again[0] == numbers[-1] + 1


async def test_a_second_socket_on_the_other_instance_sees_the_run(app_instances, thread):
    first, second = app_instances
    async with open_socket(second, thread) as (other, _), open_socket(first, thread) as (socket, _):
        await socket.send(json.dumps({"type": "run", "message": "where is order 42"}))
        here, there = await asyncio.gather(read_run(socket), read_run(other))
        assert here == there


async def test_a_killed_instance_loses_no_event_that_was_seen(slow_pair, seeded_url, thread):
    first, second = slow_pair
    seen = []
    async with open_socket(first, thread) as (socket, _):
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        async for text in socket_frames(socket):
            if text["type"] == "event":
                seen.append((text["seq"], text["event"]))
            if len(seen) == 6:
                first.kill()
    with psycopg.connect(seeded_url) as connection:  # so that the test need not wait for the heartbeat to age
        connection.execute("UPDATE agent_runs SET heartbeat_at = now() - interval '1 minute' WHERE status = 'running'")
        rows = connection.execute("SELECT seq, event FROM run_events WHERE thread_id = %s ORDER BY seq", (thread,))
        logged = {seq: json.loads(event) for seq, event in rows}
    assert all(logged[seq] == event for seq, event in seen)
    async with open_socket(second, thread, last=seen[-1][0]) as (socket, _):
        numbers, events = await read_run(socket)
        assert numbers[0] == seen[-1][0] + 1
        assert events[-1] == {
            "type": "RUN_ERROR",
            "message": "The instance that ran this was lost.",
            "code": "INSTANCE_LOST",
        }
        assert "TEXT_MESSAGE_END" in types_of(events)
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        _, events = await read_run(socket)
        assert events[-1]["type"] == "RUN_FINISHED"


async def test_stop_reaches_the_run_on_the_other_instance(slow_pair, thread):
    first, second = slow_pair
    async with open_socket(first, thread) as (socket, _):
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        while "TEXT_MESSAGE_CONTENT" not in await asyncio.wait_for(socket.recv(), 20):
            pass
        answer = await asyncio.to_thread(second.post, f"/copilotkit/agent/default/stop/{thread}", {})
        assert answer.json() == {"stopped": True}
        _, events = await read_run(socket, 10)
    assert types_of(events)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    followed = await asyncio.to_thread(second.say, thread, "hello")
    assert followed[-1]["type"] == "RUN_FINISHED"


async def test_a_thread_has_one_live_run_on_all_instances(slow_pair, thread):
    first, second = slow_pair
    async with open_socket(first, thread) as (socket, _):
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        assert json.loads(await socket.recv())["type"] == "accepted"
        refused = await asyncio.to_thread(second.post, "/agent", said(thread, "hello"))
        assert (refused.status_code, refused.json()["error"]) == (409, "thread_busy")
        connected = await asyncio.to_thread(
            second.run, {"threadId": thread, "runId": "c"}, "/copilotkit/agent/default/connect"
        )
        numbers, events = await read_run(socket)
    assert connected[-len(events) :] == events  # the replay, then the live run, from the other instance
    assert numbers == list(range(1, len(numbers) + 1))


async def test_sigterm_tells_sockets_and_running_clients(slow_pair, thread):
    first, _ = slow_pair
    async with open_socket(first, thread) as (socket, _):
        first.child.terminate()
        _ = [frame async for frame in socket_frames(socket)]
        assert socket.close_code == 1012
    assert await asyncio.to_thread(first.child.wait, 20) == 0


async def test_planned_reconnect_ping_and_origin(start_app, seeded_url, thread):
    app = start_app(
        seeded_url,
        AGUI_WS_PING_SECONDS="0.2",
        AGUI_WS_RECONNECT_AFTER_SECONDS="1",
        AGUI_ALLOWED_ORIGINS="https://app.example",
    )
    async with open_socket(app, thread, origin="https://app.example") as (socket, ready):
        assert ready["type"] == "ready"
        frames = [frame["type"] async for frame in socket_frames(socket)]
        assert socket.close_code == 1012
    assert frames[-1] == "reconnect"
    assert frames.count("ping") >= 2
    async with open_socket(app, thread, origin="https://evil.example") as (socket, first):
        assert (first["type"], first["code"]) == ("error", "forbidden_origin")
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_input"),
        ('{"type": "fly"}', "invalid_input"),
        ('{"type": "run", "message": 7}', "invalid_input"),
        ('{"type": "run", "runId": ""}', "invalid_input"),
    ],
)
async def test_a_bad_frame_is_refused_and_the_socket_lives(app_instances, thread, frame, code):
    async with open_socket(app_instances[0], thread) as (socket, _):
        await socket.send(frame)
        answer = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert (answer["type"], answer["code"]) == ("error", code)
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        _, events = await read_run(socket)
        assert events[-1]["type"] == "RUN_FINISHED"

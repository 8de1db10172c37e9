"""Many clients with bad connections on two instances: every event once and in order, whatever was cut, and where."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid

import psycopg
import pytest
import websockets
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import AppStarter

CLIENTS = 50
TERMINAL = ("RUN_FINISHED", "RUN_ERROR")
WORDS = ("where is order 42", "hello", "research oak bookshelf", "refund order 44 for 0.01", "which stock should I buy")


@pytest.fixture(scope="module")
def slow_pair(app_database, app_forks, tmp_path_factory):
    """Two instances whose agents take their time, so that cuts fall into runs."""
    folder = tmp_path_factory.mktemp("load")
    script = yaml.safe_load((ROOT / "app/agui_app/data/script.yaml").read_text())
    (folder / "slow.yaml").write_text(yaml.safe_dump(script | {"pause_ms": 15, "words_per_chunk": 1}))
    starter = AppStarter(folder, app_forks)
    try:
        both = [starter(app_database, ready=False, AGUI_SCRIPT=str(folder / "slow.yaml")) for _ in "ab"]
        for app in both:
            app.wait()
        yield both
    finally:
        starter.stop_all()


class Client:
    """A user whose connection is cut again and again, and who comes back to either instance for the rest."""

    def __init__(self, number: int, instances: list) -> None:
        self.thread = f"load-{uuid.uuid4().hex[:8]}"
        self.user = f"user-{number}"
        self.seen: list[tuple[int, dict]] = []
        self.cuts = 0
        self._chance = random.Random(number)
        self._instances = instances
        self._words = WORDS[number % len(WORDS)]

    async def converse(self) -> None:
        """One run, read over as many connections as it takes."""
        patience = 0
        while not self.ended():
            instance = self._chance.choice(self._instances)
            last = self.seen[-1][0] if self.seen else 0
            url = f"{instance.ws_url}/ws/{self.thread}?last={last}"
            async with websockets.connect(
                url, additional_headers={"X-Agui-User": self.user}, open_timeout=30, close_timeout=1
            ) as socket:
                if not patience:
                    await socket.send(json.dumps({"type": "run", "message": self._words}))
                    patience = 1
                await self._read(socket, self._chance.randint(2, 12))

    def ended(self) -> bool:
        return bool(self.seen) and self.seen[-1][1]["type"] in TERMINAL

    async def _read(self, socket, events: int) -> None:
        """Reads so many events, then cuts: half of the time without a word to the other side."""
        while events and not self.ended():
            frame = json.loads(await asyncio.wait_for(socket.recv(), 60))
            assert frame["type"] != "gap", frame
            if frame["type"] == "event":
                self.seen.append((frame["seq"], frame["event"]))
                events -= 1
        self.cuts += not self.ended()
        if self._chance.random() < 0.5:
            socket.transport.abort()


async def test_fifty_cut_and_resuming_sockets_see_every_event_once_and_in_order(slow_pair, app_database):
    clients = [Client(number, slow_pair) for number in range(CLIENTS)]
    async with asyncio.timeout(90):
        await asyncio.gather(*(client.converse() for client in clients))
    assert sum(client.cuts for client in clients) > CLIENTS  # or the test was about nothing
    with psycopg.connect(app_database) as connection:
        for client in clients:
            rows = connection.execute(
                "SELECT seq, event FROM run_events WHERE thread_id = %s ORDER BY seq", (client.thread,)
            ).fetchall()
            assert client.seen == [(seq, json.loads(event)) for seq, event in rows]
            assert [seq for seq, _ in client.seen] == list(range(1, len(rows) + 1))
            assert client.seen[-1][1]["type"] == "RUN_FINISHED"


async def test_a_socket_that_is_cut_at_once_leaves_nothing_behind(slow_pair, app_database):
    """A storm of connections that leave right away: the next client is served, and nothing is an error of ours."""
    app = slow_pair[0]

    async def brush(number: int) -> None:
        headers = {"X-Agui-User": f"storm-{number}"}
        socket = await websockets.connect(f"{app.ws_url}/ws/storm-{number}", additional_headers=headers)
        await socket.send(json.dumps({"type": "run", "message": "hello"}))
        socket.transport.abort()

    await asyncio.gather(*(brush(number) for number in range(40)))
    await asyncio.to_thread(wait_for_silence, app_database)
    assert await asyncio.to_thread(app.say, "storm-after", "hello")
    assert [line for line in app.log() if line["severity"] == "ERROR"] == []


def wait_for_silence(url: str, seconds: float = 120) -> None:
    """Until no run is live."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("SELECT count(*) FROM agent_runs WHERE status = 'running'").fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.1)

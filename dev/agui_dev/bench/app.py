"""Speed and size of the application, on real processes and a real PostgreSQL.

What the application costs beside ag-ui-adk is a ratio or a difference of two processes that take turns in one run, so
that the machine's other load falls on both alike.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import websockets
import yaml

from agui_dev.bench.figures import Figure
from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import AppInstance, AppStarter, seeded_database
from agui_dev.testbed.postgres import PostgresServer, running_postgres

BLOCK = 5
CHUNKS = 300
TURNS = 40
LONG, SHORT = "tell me everything", "tell me little"
Sent = dict[str, Any]


class Stage:
    """A PostgreSQL, and instances on databases of their own."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.start = AppStarter(folder)

    def database(self) -> str:
        """URL of a migrated and seeded database."""
        return seeded_database(self._server)

    def application(self, url: str, **env: str) -> AppInstance:
        return self.start(url, True, **env)

    def bare(self, url: str, **env: str) -> AppInstance:
        instance = self.start(url, False, "agui_dev.bench.bare_app", **env)
        instance.wait("/openapi.json")
        return instance

    def script(self) -> str:
        """Path of the packaged script with a long and a short answer, in chunks of a word."""
        script = yaml.safe_load((ROOT / "app/agui_app/data/script.yaml").read_text())
        rules = [
            {"when": LONG, "say": " ".join(f"word{n}" for n in range(CHUNKS))},
            {"when": SHORT, "say": "word"},
        ]
        script["agents"]["concierge"]["rules"][:0] = rules
        path = self._folder / "script.yaml"
        path.write_text(yaml.safe_dump(script | {"words_per_chunk": 1}))
        return str(path)


@contextmanager
def stage() -> Iterator[Stage]:
    """Everything is stopped at the end, also after a failure."""
    with (
        running_postgres() as server,
        tempfile.TemporaryDirectory(prefix="agui-bench-", ignore_cleanup_errors=True) as folder,
    ):
        made = Stage(server, Path(folder))
        try:
            yield made
        finally:
            made.start.stop_all()


def figures(starts: int = 5, samples: int = 60, concurrent: int = 200, threads: int = 4) -> list[Figure]:
    """All figures of the application."""
    with stage() as on:
        measured = start_times(on, starts)
        url, script = on.database(), on.script()
        ours = on.application(url, AGUI_SCRIPT=script, AGUI_RELEASE="bench")
        bare = on.bare(on.database(), AGUI_SCRIPT=script)
        measured += [turn_ratio(ours, bare, samples), event_cost(ours, bare, samples)]
        measured += [memory(ours, samples), turn_forty(ours, threads)]
        ours.stop()
        bare.stop()
        measured.append(concurrent_runs(on, concurrent))
    return measured


def start_times(on: Stage, n: int) -> list[Figure]:
    """From the start of the process to the first 200 of each probe, compiled, on a migrated database."""
    url = on.database()
    alive: list[float] = []
    ready: list[float] = []
    for _ in range(n + 1):  # the first one compiles and fills the page cache
        instance = on.start(url, ready=False, PYTHONDONTWRITEBYTECODE="")
        for path, times in (("/healthz", alive), ("/readyz", ready)):
            instance.wait(path)
            times.append(time.perf_counter() - instance.began)
        instance.stop()
    return [
        Figure(
            "app.healthz_s", round(median(alive[1:]), 2), n, f"process start -> /healthz, best {min(alive[1:]):.2f}"
        ),
        Figure("app.readyz_s", round(median(ready[1:]), 2), n, f"start -> /readyz; best {min(ready[1:]):.2f}"),
    ]


def turn(client: httpx.Client, instance: AppInstance, body: Sent) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of one turn, from the request to the stream's end, and its events."""
    began = time.perf_counter()
    response = client.post(instance.url + "/agent", json=body)
    took = time.perf_counter() - began
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert events, response.text
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    return took, events


def request(thread: str, words: str, before: Sequence[Sent] = ()) -> Sent:
    """A RunAgentInput; like a browser it carries the whole conversation."""
    message = {"id": uuid.uuid4().hex, "role": "user", "content": words}
    empty: Sent = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": thread, "runId": uuid.uuid4().hex, "messages": [*before, message]} | empty


def alternate(cells: Sequence[tuple[AppInstance, str]], samples: int) -> list[list[float]]:
    """Seconds of `samples` first turns of each (instance, words), in alternating blocks; warmed up before."""
    taken: list[list[float]] = [[] for _ in cells]
    with httpx.Client(timeout=60) as client:
        for number in range(samples // BLOCK + 2):
            for (instance, words), times in zip(cells, taken, strict=True):
                block = [turn(client, instance, request(uuid.uuid4().hex, words))[0] for _ in range(BLOCK)]
                times += block if number >= 2 else []
    return taken


def turn_ratio(ours: AppInstance, bare: AppInstance, samples: int) -> Figure:
    """A turn with a transfer, a tool and an answer: the application's time over the bare endpoint's."""
    mine, theirs = alternate([(ours, "where is order 42"), (bare, "where is order 42")], samples)
    note = f"transfer + tool + answer, median {median(mine) * 1000:.0f} ms over bare {median(theirs) * 1000:.0f} ms"
    return Figure("app.turn_ratio", round(median(mine) / median(theirs), 3), samples, note)


def event_cost(ours: AppInstance, bare: AppInstance, samples: int) -> Figure:
    """What an event of a streamed answer costs more than with the bare endpoint; a turn's fixed cost is taken off."""
    few = max(BLOCK * 2, samples // 2)
    times = alternate([(ours, LONG), (bare, LONG), (ours, SHORT), (bare, SHORT)], few)
    mine, theirs = [
        median((long - short) * 1000 / (CHUNKS - 1) for long, short in zip(times[side], times[side + 2], strict=True))
        for side in (0, 1)
    ]
    note = f"one event of a streamed answer, {mine:.2f} ms less the bare endpoint's {theirs:.2f} ms"
    return Figure("app.event_added_ms", round(mine - theirs, 3), few, note)


def turn_forty(ours: AppInstance, threads: int) -> Figure:
    """The last three of 40 turns over the first three of a thread, medians over all threads."""
    with httpx.Client(timeout=60) as client:
        turns: list[list[float]] = [[] for _ in range(TURNS)]
        histories: list[list[Sent]] = [[] for _ in range(threads)]
        names = [uuid.uuid4().hex for _ in range(threads)]
        for number in range(TURNS):
            for thread in range(threads):
                body = request(names[thread], f"where is order {42 + number}", histories[thread])
                took, events = turn(client, ours, body)
                turns[number].append(took)
                snapshot = [e["messages"] for e in events if e["type"] == "MESSAGES_SNAPSHOT"]
                histories[thread] = snapshot[-1]
    first = median(t for times in turns[:3] for t in times)
    last = median(t for times in turns[-3:] for t in times)
    note = f"turns 38-40 over 1-3 of a thread, medians: {first * 1000:.0f} -> {last * 1000:.0f} ms"
    return Figure("app.turn40_ratio", round(last / first, 2), threads * 3, note)


def memory(instance: AppInstance, n: int) -> Figure:
    """Resident memory of an instance that has served all of the runs above."""
    resident = psutil.Process(instance.child.pid).memory_info().rss / 2**20
    return Figure("app.rss_mb", round(resident, 1), 1, f"resident, after several hundred runs (n={n} a kind)")


def concurrent_runs(on: Stage, n: int) -> Figure:
    """Runs that did not end as they should, of `n` at once over SSE and then `n` at once over WebSocket."""
    instance = on.application(on.database(), AGUI_MAX_CONCURRENT_RUNS=str(n + 10))
    took = [0.0, 0.0]
    failed: list[str] = []
    for kind, run in enumerate((_run_sse, _run_socket)):
        began = time.perf_counter()
        failed += [reason for reason in asyncio.run(_at_once(run, instance, n)) if reason]
        took[kind] = time.perf_counter() - began
    instance.stop()
    note = f"{n} at once over SSE in {took[0]:.0f} s, then over WebSocket in {took[1]:.0f} s {failed[:3] or ''}"
    return Figure("app.concurrent_run_errors", float(len(failed)), 2 * n, note.strip())


async def _at_once(run: Any, instance: AppInstance, n: int) -> list[str]:
    async with httpx.AsyncClient(timeout=180, limits=httpx.Limits(max_connections=n)) as client:
        return list(await asyncio.gather(*(_safely(run(client, instance, number)) for number in range(n))))


async def _safely(run: Any) -> str:
    try:
        return str(await run)
    except (httpx.HTTPError, OSError, websockets.WebSocketException) as exc:
        return repr(exc)


async def _run_sse(client: httpx.AsyncClient, instance: AppInstance, number: int) -> str:
    """Why the run failed; empty when all of it is as it should be."""
    body = request(uuid.uuid4().hex, "where is order 42")
    response = await client.post(f"{instance.url}/agent", json=body, headers={"X-Agui-User": f"user-{number}"})
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    return "" if _whole(events) else response.text[-300:]


async def _run_socket(_: httpx.AsyncClient, instance: AppInstance, number: int) -> str:
    url = f"ws://127.0.0.1:{instance.port}/ws/{uuid.uuid4().hex}"
    headers = {"X-Agui-User": f"user-{number}"}
    async with websockets.connect(url, additional_headers=headers, open_timeout=180, ping_interval=None) as socket:
        await socket.send(json.dumps({"type": "run", "message": "where is order 42"}))
        events: list[dict[str, Any]] = []
        numbers: list[int] = []
        async with asyncio.timeout(180):
            while not events or events[-1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"):
                frame = json.loads(await socket.recv())
                if frame["type"] == "error":
                    return str(frame)
                if frame["type"] == "event":
                    events.append(frame["event"])
                    numbers.append(frame["seq"])
    in_order = numbers == list(range(1, len(numbers) + 1))
    return "" if in_order and _whole(events) else str(events[-1])


def _whole(events: list[dict[str, Any]]) -> bool:
    said = "".join(e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT")
    return bool(events) and events[-1]["type"] == "RUN_FINISHED" and said.startswith("Order 42:")


if __name__ == "__main__":
    for figure in figures():
        print(f"{figure.key} = {figure.value:g} (budget {figure.budget:g}) {figure.note}")

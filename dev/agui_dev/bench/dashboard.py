"""The dashboard's figures: how fast a list of 200 is, and how soon a change is on the screen. Both through a real
operator on a real API server; both ends of an interval are read from the same machine's clock."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from typing import Any

from agui_dev.bench.figures import Figure, percentile
from agui_dev.ports import free_port
from agui_dev.testbed.releases import release
from agui_dev.testbed.system import System

_STEPS = [{"setWeight": 10}, {"setWeight": 50}]


def dashboard(stage: System, listed: int = 200, releases: int = 15) -> list[Figure]:
    """Needs a stage whose operator is not running; starts one of its own, through the stage's proxy, and stops it."""
    port = free_port()
    worker = stage.operator(AGUI_DASHBOARD_PORT=str(port))
    try:
        update = update_ms(stage, port, releases)
        return [list_ms(stage, port, listed), update]
    finally:
        worker.stop()


def list_ms(stage: System, port: int, listed: int, asks: int = 60) -> Figure:
    """GET of the whole list with `listed` objects on it, every object with a status of its own: p95 over `asks`. A
    change of one object in between makes the page new each time."""
    place = stage.case(environment_too=False)
    for number in range(listed):
        stage.api.apply(release(place, "v1", name=f"app-{number:03}"))
    _await(port, listed)
    took: list[float] = []
    for number in range(asks + 5):
        stage.api.apply(release(place, "v1", name=f"app-{number % listed:03}", version=f"2.0.{number}"))
        began = time.perf_counter()
        page = _get(port, "/")
        spent = (time.perf_counter() - began) * 1000
        assert page.count('<th scope="row">') >= listed
        if number >= 5:  # the first ones fill caches
            took.append(spent)
    note = f"GET / with {listed} deployments, every time after a change of one; p95"
    return Figure("dashboard.list_200_ms", round(percentile(took, 0.95), 1), len(took), note)


def update_ms(stage: System, port: int, releases: int) -> Figure:
    """The API server's answer to a status write passes the proxy -> a frame of that object's line arrives at a reader.
    Writes closer together than the stream's calm are combined: each counts until the frame that shows it."""
    place = stage.case()
    frames: list[tuple[float, str]] = []
    ready, ended = threading.Event(), threading.Event()
    reader = threading.Thread(target=_read, args=(port, place, frames, ready, ended), name="reader")
    reader.start()
    ready.wait(10)
    since = len(stage.proxy.writes)
    try:
        for number in range(releases):
            strategy: dict[str, Any] = {"canary": {"steps": _STEPS}, "progressDeadline": "60s"}
            stage.api.apply(
                release(place, "v1", env={"NUMBER": str(number)}, strategy=strategy, version=f"1.0.{number}")
            )
            stage.settle(place, "Healthy", version=f"1.0.{number}")
        time.sleep(0.5)
    finally:
        ended.set()
        reader.join(30)
    delays = _delays([(w.at, w.phase) for w in stage.proxy.status_writes(place, since)], frames)
    note = f"status write answered -> frame received, {releases} releases one after the other; p95"
    return Figure("dashboard.update_ms", round(percentile(delays, 0.95), 1), len(delays), note)


def _delays(writes: list[tuple[float, str]], frames: list[tuple[float, str]]) -> list[float]:
    """Milliseconds from each write of another phase to the first frame that shows it, or one that followed it."""
    found = []
    for index, (wrote, phase) in enumerate(writes):
        if not phase or (index and writes[index - 1][1] == phase):
            continue
        news = {later for _, later in writes[index : index + 5] if later}
        shown = next(at for at, seen in frames if at >= wrote - 0.01 and seen in news)
        found.append(max(0.0, shown - wrote) * 1000)
    return found


def _read(
    port: int, place: str, frames: list[tuple[float, str]], ready: threading.Event, ended: threading.Event
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/live?namespace={place}")
    answer = connection.getresponse()
    for raw in answer:
        now = time.time()
        if raw.startswith(b"data: "):
            ready.set()
            for line in json.loads(raw[6:]).get("lines", {}).values():
                frames += [(now, phase) for phase in re.findall(r'class="phase \w+">(\w+)<', line)]
        if ended.is_set():
            break
    connection.close()


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _await(port: int, listed: int) -> None:
    deadline = time.monotonic() + 120
    while _get(port, "/").count('<th scope="row">') < listed:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the list did not show {listed} deployments")
        time.sleep(0.2)

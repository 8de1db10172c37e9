"""Instances and tasks as real processes: start, probes, scaling, crashes, the end of localgcp itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from agui_dev.testbed.data_plane import IMAGE, DataPlane, data_plane, revision, split, workload
from agui_dev.testbed.images import WEB_PROGRAM
from localgcp.kit.guard import Guard
from localgcp.kit.interfaces import Probe, StartFailed, Workload
from localgcp.services.run.runtime.tether import Tether


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path, idle_seconds=60, retired_idle_seconds=60) as made:
        yield made


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def pids(plane: DataPlane) -> list[int]:
    return [row["pid"] for row in plane.runtime.describe() if row["state"] == "ready"]  # type: ignore[misc]


async def test_the_container_gets_the_contracts_environment_and_nothing_of_ours(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATOR_TOKEN", "not for containers")
    await plane.runtime.start(revision(env={"DB_PASSWORD": "s3cret-value", "PORT": "1"}))
    plane.runtime.route(split(("shop-1", 100)))
    _, seen, _ = await plane.get("/env")
    wanted = {"K_SERVICE": "shop", "K_REVISION": "shop-1", "K_CONFIGURATION": "shop", "FROM_IMAGE": "1"}
    assert wanted.items() <= seen.items()
    assert (seen["DB_PASSWORD"], seen["PORT"]) == ("s3cret-value", str(plane.runtime.describe()[0]["port"]))
    assert "OPERATOR_TOKEN" not in seen
    assert "s3cret-value" not in str(plane.runtime.describe())
    assert all("s3cret-value" not in path.read_text() for path in plane.runtime.logs(workload()))


async def test_starting_twice_starts_once(plane: DataPlane) -> None:
    await asyncio.gather(*(plane.runtime.start(revision(min_instances=2)) for _ in range(3)))
    assert len(pids(plane)) == 2
    await plane.runtime.start(revision(min_instances=2))
    assert len(pids(plane)) == 2


async def test_a_container_that_exits_fails_the_start_and_what_it_said_is_in_its_log_alone(plane: DataPlane) -> None:
    with pytest.raises(StartFailed) as failed:
        await plane.runtime.start(revision(env={"EXIT_AT_START": "7"}))
    assert "failed to start and listen on the port defined provided by the PORT=" in str(failed.value)
    assert "TOPIC" not in str(failed.value), "Cloud Run quotes nothing of a container"
    said = {output.stream: output.path.read_text() for output in plane.runtime.outputs(workload().project)}
    assert said["varlog/system"].startswith("Container called exit(7)")
    assert said["stdout"].rstrip().endswith("cannot read the configuration: missing TOPIC")
    assert plane.runtime.describe() == []
    await plane.runtime.start(revision())
    assert len(pids(plane)) == 1, "the name is free again"


async def test_a_failing_startup_probe_fails_the_start_and_leaves_no_process(plane: DataPlane) -> None:
    probe = Probe(path="/status/503", period=0.2, failure_threshold=20)  # long enough for a slow start of the process
    with pytest.raises(StartFailed, match=r"The startup probe failed for .* HTTP 503"):
        await plane.runtime.start(revision(startup=probe, env={"START_DELAY": "0"}, service="shop"))
    assert not [p for p in psutil.Process().children(recursive=True) if str(WEB_PROGRAM) in p.cmdline()]


@pytest.mark.parametrize("command", [("/no/such/program",), ()])
async def test_an_image_that_cannot_run_fails_the_start(plane: DataPlane, command: tuple[str, ...]) -> None:
    with pytest.raises(StartFailed, match=r"exit\(127\)|no command"):
        await plane.runtime.start(revision(image=replace(IMAGE, command=command)))


async def test_the_default_startup_probe_is_the_open_port(plane: DataPlane) -> None:
    await plane.runtime.start(revision(startup=None))
    assert len(pids(plane)) == 1


async def test_a_killed_instance_is_replaced_while_min_instances_hold(plane: DataPlane) -> None:
    await plane.runtime.start(revision(min_instances=1))
    plane.runtime.route(split(("shop-1", 100)))
    [first] = pids(plane)
    os.kill(first, signal.SIGKILL)
    await until(lambda: bool(pids(plane)) and pids(plane) != [first])


async def test_without_min_instances_a_crash_waits_for_the_next_request(plane: DataPlane) -> None:
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    os.kill(pids(plane)[0], signal.SIGKILL)
    await until(lambda: plane.runtime.describe() == [])
    await asyncio.sleep(0.3)
    assert plane.runtime.describe() == []
    assert (await plane.get("/"))[0] == 200


async def test_a_failed_liveness_probe_replaces_the_instance(plane: DataPlane) -> None:
    liveness = Probe(path="/healthz", period=0.1, failure_threshold=2)
    await plane.runtime.start(revision(liveness=liveness, min_instances=1))
    plane.runtime.route(split(("shop-1", 100)))
    [first] = pids(plane)
    await plane.get("/sick", method="POST")
    await until(lambda: bool(pids(plane)) and pids(plane) != [first])
    assert not psutil.pid_exists(first)


async def test_more_requests_than_concurrency_start_more_instances_up_to_the_limit(plane: DataPlane) -> None:
    await plane.runtime.start(revision(concurrency=1, max_instances=3))
    plane.runtime.route(split(("shop-1", 100)))
    answers = await asyncio.gather(*(plane.get("/sleep/0.4") for _ in range(6)))
    assert [status for status, _, _ in answers] == [200] * 6, "those without an instance wait in the queue"
    assert len(pids(plane)) == 3


async def test_a_full_queue_ends_in_429(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgcp.services.run.runtime.pool._SHORTEST_QUEUE_WAIT", 0.2)
    await plane.runtime.start(revision(concurrency=1, max_instances=1))
    plane.runtime.route(split(("shop-1", 100)))
    busy = asyncio.ensure_future(plane.get("/sleep/60"))  # the queue waits 3.5 times as long as a start took
    await until(lambda: plane.runtime.describe()[0]["in_flight"] == 1)
    status, body, _ = await plane.get("/")
    assert status == 429
    assert "no available instance" in body
    assert ("shop-1", 429) in plane.requests.seen
    busy.cancel()


async def test_an_instance_that_cannot_start_again_answers_503(plane: DataPlane, tmp_path: Path) -> None:
    switch = tmp_path / "broken.py"
    code = (
        f"import os, runpy; os.path.exists({str(switch)!r}) and os._exit(9); "
        f"runpy.run_path({IMAGE.command[1]!r}, run_name='__main__')"
    )
    await plane.runtime.start(revision(command=("python", "-c", code)))
    plane.runtime.route(split(("shop-1", 100)))
    switch.touch()
    os.kill(pids(plane)[0], signal.SIGKILL)
    await until(lambda: not pids(plane))
    status, body, _ = await plane.get("/")
    assert status == 503
    assert "exit(9)" in body
    switch.unlink()
    assert (await plane.get("/"))[0] == 200


async def test_idle_instances_go_to_zero_and_come_back_for_a_request(tmp_path: Path) -> None:
    async with data_plane(tmp_path, idle_seconds=0.4) as plane:
        await plane.runtime.start(revision())
        plane.runtime.route(split(("shop-1", 100)))
        await until(lambda: plane.runtime.describe() == [])
        assert (await plane.get("/"))[0] == 200


async def test_min_instances_hold_only_with_traffic_or_a_tag(tmp_path: Path) -> None:
    async with data_plane(tmp_path, idle_seconds=0.4) as plane:
        for name in ("shop-1", "shop-2"):
            await plane.runtime.start(revision(name, min_instances=1))
        plane.runtime.route(split(("shop-2", 100), ("shop-1", 0, "old")))
        await asyncio.sleep(1)
        assert {row["revision"] for row in plane.runtime.describe()} == {"shop-1", "shop-2"}
        plane.runtime.route(split(("shop-2", 100)))
        await until(lambda: {row["revision"] for row in plane.runtime.describe()} == {"shop-2"})
        plane.runtime.route(split(("shop-1", 100)))
        await until(lambda: "shop-1" in {row["revision"] for row in plane.runtime.describe()})
        plane.runtime.unroute("demo", "us-central1", "shop")
        await until(lambda: plane.runtime.describe() == [])


async def test_a_registered_revision_starts_with_its_first_request(plane: DataPlane) -> None:
    plane.runtime.register(revision())
    plane.runtime.route(split(("shop-1", 100)))
    assert plane.runtime.describe() == []
    assert (await plane.get("/"))[0] == 200


async def test_stop_gives_grace_then_kills(plane: DataPlane) -> None:
    await plane.runtime.start(revision(env={"IGNORE_TERM": "1"}))
    [pid] = pids(plane)
    began = time.monotonic()
    await plane.runtime.stop(workload(), grace=0.5)
    assert time.monotonic() - began > 0.4
    assert not psutil.pid_exists(pid)
    await plane.runtime.stop(workload())  # gone already: no error


async def test_after_a_reset_nothing_runs_and_everything_can_start_again(plane: DataPlane) -> None:
    await plane.runtime.start(revision(min_instances=1))
    plane.runtime.route(split(("shop-1", 100)))
    await plane.runtime.reset()
    assert plane.runtime.describe() == []
    assert (await plane.get("/"))[0] == 404
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    assert (await plane.get("/"))[0] == 200


TASK = "import os, sys, time; print('attempt', os.environ['CLOUD_RUN_TASK_ATTEMPT'], flush=True); "
TASK_ENV = {"CLOUD_RUN_JOB": "migrate", "CLOUD_RUN_EXECUTION": "migrate-x", "CLOUD_RUN_TASK_ATTEMPT": "0"}


async def test_a_task_runs_to_its_end(plane: DataPlane) -> None:
    code = TASK + "[print(n) for n in range(30)]; sys.stderr.write('failed on purpose\\n'); sys.exit(3)"
    result = await plane.runtime.run_task(revision("migrate-x", command=("python", "-c", code)), TASK_ENV, 10)
    assert result.exit_code == 3
    assert len(result.tail) == 20
    assert result.tail[-1] == "failed on purpose" or result.tail[-1] == "29"
    assert "attempt 0" in plane.runtime.logs(workload("migrate-x"))[0].read_text()


async def test_a_task_past_its_timeout_is_no_success(plane: DataPlane) -> None:
    code = TASK + "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(30)"
    result = await plane.runtime.run_task(revision("migrate-x", command=("python", "-c", code)), TASK_ENV, 0.7)
    assert result.exit_code == 124
    assert result.seconds < 5


async def test_a_cancelled_execution_stops_its_tasks(plane: DataPlane) -> None:
    spec = revision("migrate-x", command=("python", "-c", TASK + "time.sleep(30)"))
    running = asyncio.ensure_future(plane.runtime.run_task(spec, TASK_ENV, 60))
    await until(
        lambda: (
            bool(plane.runtime.logs(workload("migrate-x")))
            and plane.runtime.logs(workload("migrate-x"))[0].stat().st_size > 0
        )
    )
    await plane.runtime.cancel_tasks(workload("migrate-x"))
    assert (await running).exit_code == 143


OWNER = """
import asyncio, sys
from pathlib import Path
from agui_dev.testbed.data_plane import data_plane, revision

async def main():
    async with data_plane(Path({state!r})) as plane:
        await plane.runtime.start(revision())
        print(plane.runtime.describe()[0]["pid"], flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux'")
async def test_children_die_with_a_killed_localgcp(tmp_path: Path) -> None:
    code = OWNER.format(state=str(tmp_path))
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    try:
        assert owner.stdout is not None
        pid = int(await asyncio.wait_for(owner.stdout.readline(), 20))
        assert psutil.pid_exists(pid)
    finally:
        owner.kill()
        await owner.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_leftovers_of_an_earlier_run_are_killed_and_strangers_are_not(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    left = subprocess.Popen(sleeper, start_new_session=True)
    stranger = subprocess.Popen(sleeper, start_new_session=True)
    try:
        for process, age in ((left, 0.0), (stranger, -1000.0)):
            record = {"pid": process.pid, "started": psutil.Process(process.pid).create_time() + age}
            (tmp_path / f"{process.pid}.json").write_text(json.dumps(record))
        (tmp_path / "broken.json").write_text("{")
        tether = Tether(tmp_path)
        assert tether.leftovers == (left.pid,)
        assert left.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None, "the pid was given to another process since"
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


async def test_grandchildren_end_with_their_container(plane: DataPlane, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(note)!r}, 'w').write(str(p.pid)); sys.exit(0)"
    )
    result = await plane.runtime.run_task(revision("migrate-x", command=("python", "-c", code)), TASK_ENV, 10)
    assert result.exit_code == 0
    grandchild = int(note.read_text())
    await until(
        lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
    )


async def test_revisions_of_one_name_in_two_projects_are_two(plane: DataPlane) -> None:
    projects = ("tenant-a", "tenant-b")
    for project in projects:
        await plane.runtime.start(revision(project=project, env={"OWNER": project}))
        plane.runtime.route(replace(split(("shop-1", 100), host=f"{project}.run.localhost"), project=project))
    for project in projects:
        assert (await plane.get("/env", host=f"{project}.run.localhost"))[1]["OWNER"] == project
    await plane.runtime.stop(Workload("tenant-a", "us-central1", "shop-1"))
    assert [row["project"] for row in plane.runtime.describe()] == ["tenant-b"]
    assert (await plane.get("/", host="tenant-b.run.localhost"))[0] == 200


async def test_executions_of_one_name_in_two_regions_are_two(plane: DataPlane) -> None:
    sleeper = ("python", "-c", "import time; print('up', flush=True); time.sleep(60)")
    here, there = (
        revision("migrate-x", location=region, command=sleeper) for region in ("us-central1", "europe-west9")
    )
    tasks = [asyncio.ensure_future(plane.runtime.run_task(spec, TASK_ENV, 60)) for spec in (here, there)]
    for spec in (here, there):
        await until(lambda spec=spec: any(log.stat().st_size for log in plane.runtime.logs(spec.workload)))  # type: ignore[misc]
    await plane.runtime.cancel_tasks(here.workload)
    assert (await tasks[0]).exit_code == 128 + signal.SIGTERM
    assert not tasks[1].done()
    await plane.runtime.cancel_tasks(there.workload)
    await tasks[1]


async def test_the_edge_reports_a_taken_port(plane: DataPlane) -> None:
    from localgcp.edge.edge import Edge
    from localgcp.edge.interfaces import Sources

    sources = Sources(lambda: plane.buckets, lambda: plane.url_maps)
    second = Edge(plane.runtime, sources, guard=Guard(), port=plane.edge.port)
    with pytest.raises(OSError, match="address already in use"):
        await second.open()
    await second.close()

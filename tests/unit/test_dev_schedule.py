"""Jobs side by side: within the cores, in an order that wastes none, and gone when the run is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from agui_dev.suite import records
from agui_dev.suite.runner import Outcome, Runner
from agui_dev.suite.schedule import Command, Job, estimate, in_order, may_start
from agui_dev.suite.tally import Tally


def job(name: str, seconds: float = 10, cores: float = 1, code: str = "", **more: object) -> Job:
    command = Command((sys.executable, "-c", code), Path.cwd())
    return Job(name, (command,), seconds, cores, **more)  # type: ignore[arg-type]


def test_waiting_jobs_share_the_cores_and_computing_ones_go_beside_them() -> None:
    waiting = [job("a", cores=1.2), job("b", cores=1)]
    assert may_start(waiting[1], waiting[:1], [], 2)
    assert not may_start(job("c", cores=0.5), waiting, [], 2)
    computing = job("mypy", background=True)
    assert may_start(computing, waiting, [], 2)
    assert not may_start(job("tsc", background=True), [*waiting, computing], [], 2)
    assert may_start(job("tsc", background=True), [computing], [], 2), "nobody else uses the second core"
    assert may_start(job("huge", cores=9), [], [], 2), "whatever is asked for runs at last"


def test_a_job_waits_for_what_it_needs() -> None:
    needy = job("images", needs=frozenset({"prepare"}))
    assert not may_start(needy, [], ["prepare"], 2)
    assert may_start(needy, [], ["unit"], 2)


def test_the_longest_goes_first_by_what_was_recorded() -> None:
    jobs = [job("short", 1), job("long", 100), job("prepare", 1, preparation=True)]
    assert [found.name for found in in_order(jobs, {})] == ["prepare", "long", "short"]
    assert [found.name for found in in_order(jobs, {"short": 200})] == ["prepare", "short", "long"]


def test_the_estimate_plays_the_schedule_through() -> None:
    jobs = [job("a", 100), job("b", 60), job("c", 40), job("late", 5, needs=frozenset({"a"}))]
    assert estimate(jobs, {}, 2) == 105
    assert estimate(jobs, {"a": 10}, 2) == 60
    assert estimate([], {}, 2) == 0
    both = [job("a", 100, cores=2), job("b", 100, background=True)]
    assert estimate(both, {}, 2) == 150, "a background job takes its share of the cores"
    with pytest.raises(ValueError, match="wait for each other: one, two"):
        estimate([job("one", needs=frozenset({"two"})), job("two", needs=frozenset({"one"}))], {}, 2)


def test_jobs_run_side_by_side_and_none_gets_lost(tmp_path: Path) -> None:
    said: list[str] = []
    meet = "import pathlib, time\nmine, other = pathlib.Path({!r}), pathlib.Path({!r})\nmine.touch()\n"
    meet += (
        "end = time.monotonic() + 20\nwhile not other.exists():\n    assert time.monotonic() < end\n    time.sleep(.01)"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    jobs = [
        job("one", code=meet.format(one, two)),
        job("two", code=meet.format(two, one)),
        job("bad", code="print('what went wrong'); raise SystemExit(3)"),
        job("absent", preparation=True, code="raise SystemExit(1)"),
        Job("no program", (Command(("/no/such/program",), tmp_path),)),
    ]
    outcomes = {o.job.name: o for o in Runner(tmp_path / "logs", 2, {}, said.append).run(jobs)}
    assert {name: o.passed for name, o in outcomes.items()} == {
        "one": True, "two": True, "bad": False, "absent": True, "no program": False,
    }  # fmt: skip
    log = outcomes["bad"].log
    assert log is not None
    assert log.read_text() == "what went wrong\n"
    assert said[0].startswith("5 jobs on 2 cores, about 0:")
    assert sum(" of computing)" in line for line in said) == 5


def test_a_command_without_what_it_needs_counts_as_one_skipped_test(tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", "1/0"), tmp_path, tmp_path / "report.xml", skip=lambda: "no browser")
    (outcome,) = Runner(tmp_path, 2, {}, lambda _: None).run([Job("flows", (command,))])
    assert (outcome.tests, outcome.passed) == (Tally(skipped=1), True)
    assert outcome.reasons == {"no browser": 1}


def test_a_run_that_dies_before_its_report_is_a_failure(tmp_path: Path) -> None:
    stale = tmp_path / "report.xml"
    stale.write_text('<testsuites><testsuite tests="3"/></testsuites>')
    command = Command((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"), tmp_path, stale)
    (outcome,) = Runner(tmp_path, 2, {}, lambda _: None).run([Job("unit", (command,))])
    assert (outcome.tests, outcome.passed) == (Tally(failed=1), False)


def test_computing_jobs_have_a_lower_priority(tmp_path: Path) -> None:
    code = "import os; print(os.nice(0))"
    jobs = [job("fore", code=code), job("back", code=code, background=True)]
    found = {o.job.name: o.log for o in Runner(tmp_path, 2, {}, lambda _: None).run(jobs)}
    fore, back = (int(log.read_text()) for name in ("fore", "back") if (log := found[name]) is not None)
    assert back == min(19, fore + 10)


STUBBORN = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
print(child.pid, flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    {end}
"""
RUN = """
import signal, sys
from pathlib import Path
from agui_dev.suite import runner
from agui_dev.suite.__main__ import say, stop
from agui_dev.suite.schedule import Command, Job
runner.GRACE_SECONDS = (1.0, 1.0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
logs = Path(sys.argv[1])
jobs = [Job(n, (Command((sys.executable, "-c", code), logs),)) for n, code in zip(("one", "two"), sys.argv[2:])]
try:
    runner.Runner(logs, 2, {}, say).run(jobs)
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """Also what ignores SIGINT, and children of children."""
    codes = [STUBBORN.format(end="sys.exit(2)"), STUBBORN.format(end="time.sleep(600)")]
    with subprocess.Popen([sys.executable, "-c", RUN, tmp_path, *codes], stdout=subprocess.PIPE, text=True) as run:
        try:
            logs = [tmp_path / "one.log", tmp_path / "two.log"]
            until(lambda: all(log.exists() and log.read_text().strip() for log in logs))
            pids = [int(log.read_text().split()[0]) for log in logs]
            pids += [child.pid for child in psutil.Process(run.pid).children()]
            assert len(pids) == 4
            run.send_signal(number)
            assert run.stdout is not None
            assert run.stdout.read().splitlines()[-1] == "ended"
            assert run.wait(30) == 0
        finally:
            run.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_a_run_that_is_stopped_twice_ends_at_once(tmp_path: Path) -> None:
    codes = [STUBBORN.format(end="time.sleep(600)")] * 2
    patient = RUN.replace("(1.0, 1.0)", "(300.0, 300.0)")
    with subprocess.Popen([sys.executable, "-c", patient, tmp_path, *codes], stdout=subprocess.PIPE, text=True) as run:
        try:
            logs = [tmp_path / "one.log", tmp_path / "two.log"]
            until(lambda: all(log.exists() and log.read_text().strip() for log in logs))
            pids = [int(log.read_text().split()[0]) for log in logs]
            pids += [child.pid for child in psutil.Process(run.pid).children()]
            assert run.stdout is not None
            run.send_signal(signal.SIGTERM)
            while not run.stdout.readline().startswith("stopping"):
                assert run.poll() is None
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) == 0
        finally:
            run.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def until(test: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not test():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_records_keep_what_passed_and_forgive_damage(tmp_path: Path) -> None:
    file = tmp_path / "build" / "suite.json"
    assert records.read_seconds(file) == {}
    records.write(file, [Outcome(job("unit"), None, seconds=3.21, cpu=1), Outcome(job("app"), None, passed=False)])
    assert records.read_seconds(file) == {"unit": 3.2}
    records.write(file, [Outcome(job("app"), None, seconds=7)])
    assert records.read_seconds(file) == {"unit": 3.2, "app": 7.0}
    for damage in ("[]", "{", '{"unit": 3}'):
        file.write_text(damage)
        assert records.read_seconds(file) == {}
    records.write(file, [])
    assert os.access(file, os.R_OK)

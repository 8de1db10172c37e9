"""Programs that are started here: they end with their parent, and a failed start shows their output."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from agui_dev.children import Child, ChildFailed
from agui_dev.ports import PORT_RANGE, free_port, free_ports

OWNER = """
import sys, time
from pathlib import Path
from agui_dev.children import Child

child = Child("sleeper", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], Path({log!r}))
child.until(lambda: child.output() == "up\\n", 20)
print(child.pid, flush=True)
time.sleep(60)
"""


def python(code: str, log: Path, **options: object) -> Child:
    return Child("the program", [sys.executable, "-c", code], log, **options)  # type: ignore[arg-type]


def test_a_program_that_ends_before_it_is_ready_shows_its_output(tmp_path: Path) -> None:
    child = python("import sys; print('no such port'); sys.exit(3)", tmp_path / "log")
    with pytest.raises(ChildFailed, match=r"(?s)the program ended:\n.*no such port"):
        child.until(lambda: False, 20)
    assert child.wait() == 3


def test_a_program_that_is_not_ready_in_time_shows_its_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = python("import time; print('waiting', flush=True); time.sleep(60)", log)
    try:
        child.until(lambda: "waiting" in log.read_text(), 20)
        with pytest.raises(ChildFailed, match=r"(?s)the program was not ready after 0.1 s:\nwaiting"):
            child.until(lambda: False, 0.1)
    finally:
        assert child.kill() == -signal.SIGKILL


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = python(code, log)
    child.until(lambda: "up" in log.read_text(), 20)
    assert child.stop(0.2) == -signal.SIGKILL
    assert not child.is_alive


@pytest.mark.parametrize("inherit", [True, False])
def test_an_environment_is_added_or_replaces_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherit: bool
) -> None:
    monkeypatch.setenv("AGUI_OURS", "1")
    code = "import os; print(os.environ.get('AGUI_OURS'), os.environ['AGUI_ADDED'])"
    child = python(code, tmp_path / "log", env={"AGUI_ADDED": "2"}, inherit=inherit)
    assert child.wait(20) == 0
    assert child.output() == ("1 2\n" if inherit else "None 2\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is a feature of Linux")
def test_a_program_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    owner = python(OWNER.format(log=str(tmp_path / "sleeper")), log)
    owner.until(lambda: log.read_text().endswith("\n"), 20)
    sleeper = psutil.Process(int(log.read_text()))
    owner.kill()
    deadline = time.monotonic() + 10
    try:
        while sleeper.is_running() and sleeper.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it outlived its parent"
            time.sleep(0.02)
    finally:
        with suppress(psutil.NoSuchProcess):
            sleeper.kill()


def test_free_ports_differ_and_avoid_those_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert set(ports) <= set(PORT_RANGE)
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))

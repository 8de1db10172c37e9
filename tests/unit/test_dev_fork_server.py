"""Forks of a server behave as programs that were started by themselves: environment, log, exit code, end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agui_dev.testbed.app_instance import may_fork
from agui_dev.testbed.fork_server import ForkServer

PROGRAM = """
import decimal, json, os, signal, sys, time
print(json.dumps({"env": dict(os.environ), "name": __name__, "argv": sys.argv[1:], "sid": os.getsid(0)}), flush=True)
if "CODE" in os.environ:
    sys.exit(int(os.environ["CODE"]))
time.sleep(600)
"""


@pytest.fixture
def forks(tmp_path, monkeypatch):
    """A server that imports a small module, beside a program to run."""
    (tmp_path / "small_imports.py").write_text("import decimal\n")
    (tmp_path / "small_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = ForkServer("small_imports")
    yield server
    server.close()


def start(forks, log: Path, **env: str):
    return forks.start("small", "small_program", log, {"PATH": os.environ["PATH"], **env})


def test_a_fork_has_the_environment_the_log_and_the_exit_code_of_its_own(forks, tmp_path):
    children = [start(forks, tmp_path / f"{code}.log", CODE=str(code)) for code in (0, 3)]
    assert [child.wait(60) for child in children] == [0, 3]
    for child, code in zip(children, "03", strict=True):
        assert f'"CODE": "{code}"' in child.output()
        assert '"PYTHONPATH"' not in child.output()
        assert f'"name": "__main__", "argv": [], "sid": {child.pid}' in child.output()


def test_a_fork_finds_modules_of_its_own(forks, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "further_program.py").write_text("print(__name__, __file__)")
    path = f"{tmp_path / 'none'}{os.pathsep}{tmp_path / 'more'}"
    child = forks.start("further", "further_program", tmp_path / "log", {"PYTHONPATH": path})
    assert child.wait(60) == 0
    assert child.output() == f"__main__ {tmp_path / 'more' / 'further_program.py'}\n"


def test_a_fork_is_stopped_and_killed_like_a_program(forks, tmp_path):
    first, second = (start(forks, tmp_path / f"{n}.log") for n in (1, 2))
    first.until(lambda: "__main__" in first.output(), 60)
    assert first.is_alive
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.01)
    assert first.stop(60) == -signal.SIGTERM
    assert not first.is_alive
    assert second.kill() == -signal.SIGKILL
    assert second.kill() == -signal.SIGKILL  # ended already


def test_forks_end_with_the_process_that_asked_for_them(tmp_path):
    (tmp_path / "small_imports.py").write_text("")
    (tmp_path / "small_program.py").write_text(PROGRAM)
    code = (
        "import os, pathlib, signal; from agui_dev.testbed.fork_server import ForkServer\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "child = ForkServer('small_imports').start('x', 'small_program', log, {})\n"
        "print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_read_at_import_needs_a_process_of_its_own():
    own = dict(os.environ)
    assert may_fork(own | {"AGUI_SCRIPT": "x", "K_REVISION": "y", "DATABASE_URL": "z"})
    assert not may_fork(own | {"PYTHONOPTIMIZE": "1"})
    assert not may_fork(own | {"GCE_METADATA_HOST": "127.0.0.1:1"})
    assert not may_fork({name: value for name, value in own.items() if name != "PATH"})


def test_a_fork_gets_arguments_and_a_file_for_errors(forks, tmp_path):
    code = "import sys\nprint(sys.argv[1:])\nprint('wrong', file=sys.stderr)\n"
    (tmp_path / "small_command.py").write_text(code)
    log, errors = tmp_path / "log", tmp_path / "errors"
    child = forks.start("small", "small_command", log, {"PATH": os.environ["PATH"]}, ("upgrade", "head"), errors)
    assert child.wait(60) == 0
    assert (log.read_text(), errors.read_text()) == ("['upgrade', 'head']\n", "wrong\n")

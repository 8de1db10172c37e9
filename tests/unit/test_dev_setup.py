"""The set-up of a checkout: quick when there is nothing to do, clear when something is missing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from agui_dev.paths import ROOT, cache_dir
from agui_dev.setup import browser, node, venv
from agui_dev.setup.stamp import stamp
from agui_dev.steps import StepFailed, clock, run_step

BOOTSTRAP = ROOT / "dev" / "agui_dev" / "bootstrap.py"


def program(target: Path, script: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"#!/bin/sh\n{script}\n")
    target.chmod(0o755)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"AGUI_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/x"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/agui")),
        ({"XDG_CACHE_HOME": "not/absolute"}, Path("~/.cache/agui").expanduser()),
        ({}, Path("~/.cache/agui").expanduser()),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], folder: Path) -> None:
    assert cache_dir(environ) == folder


def test_a_stamp_knows_content_names_and_words(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("ab")
    two.write_text("c")
    first = stamp(tmp_path / "stamp", [one, two], "3.11")
    assert not first.is_current()
    first.write()
    assert stamp(tmp_path / "stamp", [one, two], "3.11").is_current()
    assert not stamp(tmp_path / "stamp", [one, two], "3.12").is_current()
    assert not stamp(tmp_path / "stamp", [two, one], "3.11").is_current()
    one.write_text("a")
    two.write_text("bc")
    assert not stamp(tmp_path / "stamp", [one, two], "3.11").is_current(), "the same bytes, cut elsewhere"


def test_the_set_up_runs_on_a_bare_python_with_the_standard_library_alone() -> None:
    listing = (
        "import json, sys; sys.argv = ['bootstrap']; sys.path.insert(0, ''); import runpy; "
        f"runpy.run_path({str(BOOTSTRAP)!r}); print(json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", listing], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(answer.stdout)}
    assert "agui_dev" in loaded
    assert loaded - set(sys.stdlib_module_names) <= {"agui_dev", "__main__", "__mp_main__"}


def test_a_second_run_costs_less_than_a_third_of_a_cpu_second() -> None:
    if not venv.venv_stamp().is_current():
        pytest.skip("this environment was not made by the set-up, so there is no first run")
    python = sys._base_executable  # type: ignore[attr-defined]  # the stamp is of the Python that made the environment
    seconds = []
    for _ in range(3):
        before = _computed()
        subprocess.run([python, BOOTSTRAP, "--only", "venv"], check=True, capture_output=True)
        seconds.append(_computed() - before)
    assert min(seconds) < 0.3, seconds


def _computed() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_an_old_python_is_told_what_to_do() -> None:
    # The whole file must be readable to that Python; the check stands before the first import that is not.
    pretend = f"import sys; sys.version_info = (3, 9, 2); import runpy; runpy.run_path({str(BOOTSTRAP)!r})"
    answer = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("This repository needs Python 3.11 or newer; ")
    assert "make setup PYTHON=" in answer.stderr


def test_uv_of_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "uv", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("AGUI_CACHE_DIR", str(tmp_path / "cache"))
    assert venv.find_uv() == tmp_path / "bin" / "uv"
    assert not (tmp_path / "cache").exists()


def test_a_slow_step_that_fails_shows_its_last_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program(tmp_path / "step", "seq 1 50; echo 'no space left' >&2; exit 7")
    with pytest.raises(StepFailed, match=r"(?s)^filling: failed after 0:0\d \(exit code 7\)\.\n37\n.*no space left$"):
        run_step("filling", [tmp_path / "step"], estimate_s=125, log=tmp_path / "log")
    assert "filling (about 2:05)" in capfd.readouterr().err


def test_a_slow_step_says_how_far_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agui_dev.steps.SECONDS_BETWEEN_LINES", 0.1)
    program(tmp_path / "step", "sleep 0.35")
    assert run_step("waiting", [tmp_path / "step"], estimate_s=0.2, log=tmp_path / "log") >= 0.35
    lines = [line for line in capfd.readouterr().err.splitlines() if "waiting: 0:00 of about 0:00" in line]
    assert len(lines) >= 2
    assert lines[-1].endswith("(slower than usual)")
    assert clock(3671) == "61:11"


def test_node_is_asked_for_only_where_there_is_a_browser_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    node.ensure(tmp_path)
    (tmp_path / "package-lock.json").write_text("{}")
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(StepFailed, match=r"needs Node.js and npm, and they are not on PATH. Install Node.js 20"):
        node.ensure(tmp_path)
    program(tmp_path / "bin" / "node", "echo v18.19.0")
    program(tmp_path / "bin" / "npm", f"echo run >> {tmp_path}/runs")
    with pytest.raises(StepFailed, match=r"needs Node.js 20 or newer; this is v18.19.0"):
        node.ensure(tmp_path)
    program(tmp_path / "bin" / "node", "echo v22.1.0")
    node.ensure(tmp_path)
    node.ensure(tmp_path)
    assert (tmp_path / "runs").read_text() == "run\n", "installed once for one lock file"
    (tmp_path / "package-lock.json").write_text('{"lockfileVersion": 3}')
    node.ensure(tmp_path)
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_chromium_named_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"PATH": str(tmp_path)}
    assert browser.find(env) is None
    program(tmp_path / "google-chrome", "")
    assert browser.find(env) == tmp_path / "google-chrome"
    program(tmp_path / "chromium", "")
    assert browser.find(env) == tmp_path / "chromium"
    assert browser.find({**env, "CHROMIUM": str(tmp_path / "google-chrome")}) == tmp_path / "google-chrome"
    with pytest.raises(StepFailed, match="CHROMIUM is set to /nowhere, which is not a program"):
        browser.find({**env, "CHROMIUM": "/nowhere"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(StepFailed, match="sudo apt-get install chromium"):
        browser.ensure()

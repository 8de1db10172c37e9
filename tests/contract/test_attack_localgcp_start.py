"""How localgcp starts: the state folder is its owner's, and a host that others reach needs a flag and is warned of."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agui_dev.testbed.local_cloud import LocalCloud
from hostile_pages import Attack, by_rebinding, from_pages, port_of, send

pytestmark = pytest.mark.contract


def test_the_state_is_its_owners(local_cloud: LocalCloud) -> None:
    assert stat.S_IMODE(local_cloud.state_dir.stat().st_mode) == 0o700
    for name in ("admin-token", "ledger.jsonl", "state.sqlite3"):
        assert stat.S_IMODE((local_cloud.state_dir / name).stat().st_mode) == 0o600, name
    assert len((local_cloud.state_dir / "admin-token").read_text().strip()) >= 32


def test_a_state_folder_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    (state / "state.sqlite3").touch()
    (state / "admin-token").write_text("guessed")
    (state / "admin-token").chmod(0o644)
    cloud = LocalCloud(state)
    try:
        cloud.start()
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        token = state / "admin-token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text().strip() != "guessed", "a token that others could read or write is replaced"
        kept = token.read_text()
        cloud.restart()
        assert token.read_text() == kept
    finally:
        cloud.stop()


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "notes.txt").write_text("not localgcp's")
    with serve("--state-dir", str(shared), cwd=tmp_path) as process:
        _, said = process.communicate(timeout=120)
    assert (process.returncode, "--state-dir" in said) == (1, True)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def serve(*words: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "localgcp", "serve", "--port", "0", "--edge-port", "0", *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "build-machine.example"])
def test_a_host_that_others_reach_needs_a_flag(tmp_path: Path, host: str) -> None:
    with serve("--host", host, cwd=tmp_path) as process:
        try:
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 2
    assert "--expose" in said
    assert not (tmp_path / ".localgcp").exists()


def test_an_exposed_localgcp_says_so(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = serve("--host", "0.0.0.0", "--expose", "--ready-file", str(ready), cwd=tmp_path)
    try:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        address = ("127.0.0.1", port_of(line["endpoint"])[1])
        assert line["exposed"] is True
        status, body = send(address, Attack("status", "GET", "/_localgcp/status", {}))
        assert (status, json.loads(body)["exposed"]) == (200, True)
        for attack in (*from_pages(), *(a for a in by_rebinding() if a.host and a.host[0] not in "01[")):
            assert send(address, attack)[0] == 403, attack.name
    finally:
        process.terminate()
        _, said = process.communicate(timeout=120)
    banner = [text for text in said.splitlines() if text.startswith("!!")]
    assert len(banner) >= 5
    assert any("run commands on this machine" in text for text in banner)


def test_allowed_names_and_origins_are_let_in(tmp_path: Path) -> None:
    cloud = LocalCloud(
        tmp_path / "state", "--allow-host", "host.docker.internal", "--allow-origin", "http://127.0.0.1:3000"
    )
    try:
        cloud.start()
        address = port_of(cloud.endpoint)
        named = Attack("named", "GET", "/_localgcp/status", {}, host=f"host.docker.internal:{address[1]}")
        assert send(address, named)[0] == 200
        assert send(address, Attack("page", "GET", "/_localgcp/status", {"Origin": "http://127.0.0.1:3000"}))[0] == 200
        for attack in (a for a in from_pages() if a.name != "other-port-of-this-machine"):
            assert send(address, attack)[0] == 403, attack.name
    finally:
        cloud.stop()

"""A port that is taken is the first thing that goes wrong for many: the operator says which setting, and ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("setting", "others"),
    [("AGUI_HTTP_PORT", {}), ("AGUI_DASHBOARD_PORT", {"AGUI_HTTP_PORT": "0", "AGUI_HTTP_HOST": "127.0.0.1"})],
)
def test_a_taken_port_is_told_by_its_setting_in_one_line(setting: str, others: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"AGUI_HTTP_HOST": "127.0.0.1", "AGUI_GCP_ENDPOINT": "http://127.0.0.1:1", setting: str(port)}
        run = subprocess.run(
            [sys.executable, "-m", "agui_operator", "run"],
            env={**os.environ, **others, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert run.returncode == 1
    told = run.stderr.strip().splitlines()[-1]
    assert told.startswith(f"Error: {setting}: port {port} of 127.0.0.1: Address already in use; choose another one")
    assert "Traceback" not in run.stderr

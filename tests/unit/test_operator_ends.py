"""The process ends when its work has ended, whatever is left of kopf: nobody starts a process again that goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# kopf in the state in which a watch that was cut in the middle of a line leaves it: it has cleaned up and does not end
_HUNG = """
import asyncio, sys
import kopf
from agui_operator.engine.settings import from_environment
from agui_operator.handlers import serve, startup

async def operator(**kwargs):
    if sys.argv[1] == "fails":
        raise RuntimeError("a watch failed")
    await startup.stop(memo=kwargs["memo"])
    while sys.argv[1] == "hangs":
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

kopf.operator = operator
serve._ENDS_WITHIN = 0.5
serve.run(from_environment())
print("ended by itself")
"""


@pytest.mark.parametrize(("what", "code"), [("hangs", 1), ("ends", 0), ("fails", 1)])
def test_the_process_ends_when_the_operator_has_stopped(what: str, code: int) -> None:
    settings = {"AGUI_HTTP_HOST": "127.0.0.1", "AGUI_HTTP_PORT": "0", "AGUI_GCP_ENDPOINT": "http://127.0.0.1:1"}
    run = subprocess.run(
        [sys.executable, "-c", _HUNG, what],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert ("ended by itself" in run.stdout) == (what == "ends")
    assert ("did not end within" in run.stderr) == (what == "hangs")

"""Makes this checkout ready to work: `python3 dev/agui_dev/bootstrap.py`.

It runs on a bare Python, before any dependency is there, so it and what it imports use the standard library alone.
A second run finds the stamps of the first one and ends at once.
"""

from __future__ import annotations

import sys

# First of all, and in words that every Python understands: the imports below need 3.11 themselves.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "This repository needs Python 3.11 or newer; "
        + sys.executable
        + " is "
        + sys.version.split()[0]
        + ".\nInstall one (Debian, Ubuntu: `apt install python3.11 python3.11-venv`; anywhere: "
        + "`uv python install 3.11`) and name it: `make setup PYTHON=python3.11`."
    )

import argparse
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from agui_dev.setup import browser, images, node, venv  # noqa: E402
from agui_dev.steps import StepFailed, say  # noqa: E402

PARTS: dict[str, Callable[[], None]] = {
    "venv": venv.ensure,
    "controlplane": venv.ensure_control_plane,
    "npm": node.ensure,
    "chromium": browser.ensure,
    "images": images.ensure,
}
# Chromium and the base image are big, and only some tests want them: these ask for them by name.
DEFAULT_PARTS = ("venv", "controlplane", "npm")


def main() -> int:
    """Set up the parts asked for; 1 and a sentence on stderr when something is missing."""
    parser = argparse.ArgumentParser(description="Make this checkout ready to work.")
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="this part alone (may be repeated)")
    wanted: list[str] | None = parser.parse_args().only
    try:
        for part in wanted or DEFAULT_PARTS:
            PARTS[part]()
    except StepFailed as failure:
        say(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("\nstopped; the next run goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where things are. Standard library only: the set-up imports this before there is a virtual environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder for what is costly to make and belongs to no single checkout.

    `AGUI_CACHE_DIR` if set, else `agui` below `XDG_CACHE_HOME`, else `~/.cache/agui`. Not created here.
    """
    if own := environ.get("AGUI_CACHE_DIR"):
        return Path(own).expanduser().resolve()
    shared = environ.get("XDG_CACHE_HOME")
    # The XDG base directory specification: a relative path is invalid and must be ignored.
    base = Path(shared) if shared and Path(shared).is_absolute() else Path("~/.cache").expanduser()
    return base / "agui"

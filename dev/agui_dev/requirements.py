"""Compiles the hash-checked requirement lists: `make requirements` (`UPGRADE=1` takes newer versions where allowed).

One resolution, requirements/dev.txt, holds everything; the images' lists are parts of it, so that what is tested is
what is shipped. The lists name no index: every machine uses its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agui_dev.paths import ROOT
from agui_dev.setup.venv import find_uv
from agui_dev.steps import StepFailed, say

OPTIONS = (
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-header",
    "--prerelease=if-necessary-or-explicit",
    "--python-version=3.11",
)
CONSTRAINED = ("--constraints=requirements/dev.txt",)
# (what goes in, further options, the list that comes out); the first list constrains the two after it; the last
# three stand alone.
LISTS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("requirements/dev.in", "pyproject.toml", "app/pyproject.toml", "localgcp/pyproject.toml"),
        (),
        "requirements/dev.txt",
    ),
    (("pyproject.toml",), CONSTRAINED, "requirements/operator.txt"),
    (("app/pyproject.toml",), CONSTRAINED, "requirements/app.txt"),
    (("dev/uv.in",), (), "dev/uv.txt"),
    (("requirements/sbom.in",), (), "requirements/sbom.txt"),
    (("requirements/audit.in",), (), "requirements/audit.txt"),
)


def compile_lists(uv: Path, options: Sequence[str] = ()) -> None:
    """Rewrite every list. Raises StepFailed when a resolution fails."""
    for sources, further, target in LISTS:
        argv = [str(uv), "pip", "compile", *OPTIONS, *further, *options, *sources, f"--output-file={target}"]
        if subprocess.run(argv, cwd=ROOT, check=False).returncode != 0:
            raise StepFailed(f"{target} could not be compiled; the reason stands above.")
        say(f"  {target}")


def main() -> int:
    """The command line; 1 when a list could not be compiled."""
    try:
        compile_lists(find_uv(), ["--upgrade"] if os.environ.get("UPGRADE") else [])
    except StepFailed as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

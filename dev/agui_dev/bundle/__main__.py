"""`python -m agui_dev.bundle`: builds the browser application's release bundle and says what a release has to name."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from agui_dev.bundle.build import RUNTIME_URL, build
from agui_dev.paths import ROOT
from agui_dev.setup.node import FRONTEND
from agui_dev.steps import StepFailed, say


def main(argv: list[str] | None = None) -> int:
    """Prints the archive's path and sha256 on stdout; sizes, and what went wrong, on stderr."""
    package = json.loads((FRONTEND / "package.json").read_text())
    parser = argparse.ArgumentParser(prog="python -m agui_dev.bundle", description=__doc__)
    parser.add_argument("--version", default=package["version"], help="what the page calls itself (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bundles", help="folder of the archive")
    parser.add_argument("--runtime-url", default=RUNTIME_URL, help="where the page finds its backend (%(default)s)")
    chosen = parser.parse_args(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    try:
        made = build(chosen.version, chosen.out, runtime_url=chosen.runtime_url)
    except StepFailed as failed:
        say(str(failed))
        return 1
    entry, budget = made.report["entryGzipBytes"], made.report["budgetBytes"]
    total = made.report["totalBytes"]
    say(f"first load {entry / 1000:.1f} kB gzip of {budget / 1000:.0f} kB, {total / 1000:.0f} kB in all")
    for path, size in sorted(made.report["sizes"].items(), key=lambda item: -item[1]):
        say(f"  {size / 1000:9.1f} kB  {path}")
    print(f"{made.path} {made.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

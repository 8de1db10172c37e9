"""The command line: `python -m agui_dev.images build --target app`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from agui_dev.images.build import TARGETS, Bases, build, look, read_sources
from agui_dev.images.sbom import read_sbom
from agui_dev.images.store import open_store
from agui_dev.paths import ROOT, VENV
from agui_dev.steps import StepFailed, clock, say

SBOM_TARGETS = ("app", "migrations", "operator")


def _build(arguments: argparse.Namespace) -> int:
    targets = arguments.target or ("app", "migrations", "operator")
    bases = Bases(arguments.base, arguments.node_base)
    on = {target: bases.pinned(target) if arguments.pinned else bases for target in targets}
    store = open_store()
    if store.driver == "vfs":
        say("  the kernel's overlay cannot be used here: building is several times slower and takes more disk")
    for target in targets:
        image = build(store, target, bases=on[target], cached=not arguments.no_cache)
        print(f"{image.name}: {image.size / 1e6:.0f} MB, {len(image.layers)} layers, {clock(image.seconds)}")
        if arguments.output:
            archive = Path(arguments.output) / f"agui-{image.target}.oci.tar"
            archive.unlink(missing_ok=True)
            destination = f"oci-archive:{archive.resolve()}:{image.name}"
            store.step(f"writing {archive}", "push", "--quiet", image.name, destination, estimate_s=20)
    return 0


def _lint(_: argparse.Namespace) -> int:
    return subprocess.run([VENV / "bin" / "hadolint", ROOT / "Dockerfile"], check=False).returncode


def _sbom(arguments: argparse.Namespace) -> int:
    store = open_store()
    image = look(store, f"localhost/agui-{arguments.target}:{read_sources().version}", arguments.target, 0)
    print(json.dumps(read_sbom(store, image.name), indent=1))
    return 0


def _prune(_: argparse.Namespace) -> int:
    store = open_store()
    store.read("rm", "--all", timeout_s=600)  # what a build that was killed left
    removed = store.read("rmi", "--prune", "--force", timeout_s=600).splitlines()
    print(f"{len(removed)} images removed: intermediate steps that no name refers to")
    return 0


def main() -> int:
    """1 and a sentence on stderr when something failed."""
    parser = argparse.ArgumentParser(prog="python -m agui_dev.images", description="The container images.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build", help="build one or more targets; their tests run first")
    one.add_argument("--target", action="append", choices=sorted(TARGETS), help="default: app, migrations, operator")
    one.add_argument("--base", help="the Python image to build on; default: the official one, else a stand-in")
    one.add_argument("--node-base", metavar="BASE", help="the same for Node.js, which the browser's targets build on")
    one.add_argument("--pinned", action="store_true", help="refuse base images without a digest, and stand-ins")
    one.add_argument("--no-cache", action="store_true", help="run every step again")
    one.add_argument("--output", metavar="FOLDER", help="also write an OCI archive there")
    one.set_defaults(do=_build)
    commands.add_parser("lint", help="hadolint over the Dockerfile").set_defaults(do=_lint)
    bill = commands.add_parser("sbom", help="print the CycloneDX bill of materials of a built image")
    bill.add_argument("--target", choices=SBOM_TARGETS, default="app")
    bill.set_defaults(do=_sbom)
    commands.add_parser("prune", help="free the disk space of intermediate steps").set_defaults(do=_prune)
    arguments = parser.parse_args()
    try:
        return int(arguments.do(arguments))
    except StepFailed as failure:
        say(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())

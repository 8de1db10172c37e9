"""`python -m agui_dev.controlplane up|env|build`: the control plane from the command line."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from agui_dev.controlplane import ControlPlane, binaries, build, prebuilt
from agui_dev.controlplane.binaries import Binaries, NoControlPlane, Source
from agui_dev.paths import ROOT
from agui_dev.steps import StepFailed, only_one, say

DEFAULT_STATE = ROOT / "build" / "controlplane"


def obtain() -> Source:
    """What `locate` finds, else a download, else a build. Raises NoControlPlane or StepFailed."""
    found = binaries.locate()
    if found is None and prebuilt.obtain():
        found = binaries.locate()
    if found is None:
        build.build()
        found = binaries.locate()
    if found is None:
        raise NoControlPlane(f"{binaries.built_folder()} lacks a program after the build; remove it and try again.")
    return found


def up(state_dir: Path) -> None:
    """Run a control plane until Ctrl-C or SIGTERM. Data in `state_dir` is kept for the next start."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    state_dir.mkdir(parents=True, exist_ok=True)
    source = obtain()
    started = time.monotonic()
    with (
        contextlib.suppress(KeyboardInterrupt),
        only_one(state_dir, f"the control plane in {state_dir}"),
        ControlPlane(state_dir, source=source) as plane,
    ):
        say(f"control plane ready after {time.monotonic() - started:.1f} s at {plane.url}; logs in {state_dir}")
        print(f"export KUBECONFIG={shlex.quote(str(plane.kubeconfig))}", flush=True)
        say("Ctrl-C stops it")
        signal.pause()


def print_environment(state_dir: Path) -> None:
    """Print what a shell evaluates to use the running control plane. Raises NoControlPlane when none runs."""
    source = binaries.locate()
    if isinstance(source, binaries.ExistingCluster):
        print(f"export KUBECONFIG={shlex.quote(str(source.kubeconfig))}")
        return
    kubeconfig = state_dir / "kubeconfig"
    if source is None or not kubeconfig.exists():
        raise NoControlPlane(f"No control plane runs in {state_dir}. Start one: `python -m agui_dev.controlplane up`.")
    print(f"export KUBECONFIG={shlex.quote(str(kubeconfig))}")
    print(f'export PATH={shlex.quote(str(source.kubectl.parent))}:"$PATH"')


def main() -> int:
    """The command line; 1 and a sentence on stderr when it can't be done."""
    parser = argparse.ArgumentParser(prog="python -m agui_dev.controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="make sure that the programs are there: found, downloaded or built")
    for name, text in (("up", "run a control plane until Ctrl-C"), ("env", "print the shell settings to use it")):
        commands.add_parser(name, help=text).add_argument("--state-dir", type=Path, default=DEFAULT_STATE)
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            up(arguments.state_dir.resolve())
        elif arguments.command == "env":
            print_environment(arguments.state_dir.resolve())
        else:
            source = obtain()
            where = source.etcd.parent if isinstance(source, Binaries) else source.kubeconfig
            say(f"control plane: {where}")
    except (NoControlPlane, StepFailed) as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes what is generated (`python -m agui_dev.generate`) or says what has drifted (`--check`, exit code 1).

A generator is a module with `write(root) -> list[Path]` and `check(root) -> list[str]`; to add one, add its name here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from agui_dev.paths import ROOT

GENERATORS: tuple[str, ...] = ("agui_operator.api.generate", "agui_dev.pages", "agui_dev.argocd.customizations")


class Generator(Protocol):
    """What a generator module offers."""

    def write(self, root: Path) -> list[Path]:
        """Write its files below `root`; returns them."""

    def check(self, root: Path) -> list[str]:
        """One sentence for each file that differs from what `write` would write; changes nothing."""


def load(names: Sequence[str] = GENERATORS) -> list[Generator]:
    """The generators, in order. Raises ImportError when one is missing: a list that lies is worse than none."""
    return [cast(Generator, importlib.import_module(name)) for name in names]


def drift(root: Path, generators: Sequence[Generator]) -> list[str]:
    """What is not as it would be generated."""
    return [sentence for generator in generators for sentence in generator.check(root)]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something has drifted")
    if parser.parse_args().check:
        found = drift(ROOT, load())
        for sentence in found:
            print(sentence, file=sys.stderr)
        if found:
            print("Run `make generate` and commit the result.", file=sys.stderr)
        return 1 if found else 0
    for generator in load():
        for file in generator.write(ROOT):
            print(file.relative_to(ROOT) if file.is_absolute() else file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

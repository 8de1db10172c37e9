"""Writes what is generated from the models, and says where the committed files differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agui_operator.api.crd import HEADER, render_crds
from agui_operator.api.reference import render_reference

REFERENCE = Path("docs/api.md")


def _files() -> Mapping[Path, str]:
    crds = {Path("crds") / name: text for name, text in render_crds().items()}
    return {**crds, REFERENCE: render_reference()}


def write(root: Path) -> list[Path]:
    """Writes crds/ and docs/api.md below `root`; returns the paths. A CRD that is not generated any more is removed."""
    for path in _strays(root):
        path.unlink()
    written = []
    for name, text in _files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written


def check(root: Path) -> list[str]:
    """One sentence per file that is missing, stale or left over; empty when all is as generated."""
    drift = []
    for name, text in _files().items():
        path = root / name
        if not path.exists():
            drift.append(f"{name} is missing; run `agui-operator crd`")
        elif path.read_text() != text:
            drift.append(f"{name} is not what the models say; run `agui-operator crd`")
    drift += [f"{path.relative_to(root)} is generated from nothing; run `agui-operator crd`" for path in _strays(root)]
    return drift


def _strays(root: Path) -> list[Path]:
    wanted = {root / name for name in _files()}
    found = sorted((root / "crds").glob("*.yaml"))
    return [path for path in found if path not in wanted and path.read_text().startswith(HEADER)]

"""Manifests as a command line names them: files, folders and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Source:
    """One text. `error`: why it can't be read."""

    name: str
    text: str
    error: str = ""


def read_sources(paths: Sequence[str]) -> list[Source]:
    """The texts in order; of a folder every .yaml, .yml and .json file below it, by name. `-` is standard input."""
    return [source for path in paths for source in _read(path)]


def _read(path: str) -> Iterator[Source]:
    if path == "-":
        yield _decoded("<stdin>", sys.stdin.buffer.read())
        return
    root = Path(path)
    files = sorted(p for p in root.rglob("*") if p.suffix in _ENDINGS and p.is_file()) if root.is_dir() else [root]
    if not files:
        yield Source(path, "", f"has no {', '.join(_ENDINGS)} file; name a folder with manifests")
    for file in files:
        try:
            yield _decoded(str(file), file.read_bytes())
        except OSError as exc:
            yield Source(str(file), "", f"can't be read: {exc.strerror}; check its path and permissions")


def _decoded(name: str, data: bytes) -> Source:
    try:
        return Source(name, data.decode())
    except UnicodeDecodeError:
        return Source(name, "", "is not UTF-8; save it as UTF-8")

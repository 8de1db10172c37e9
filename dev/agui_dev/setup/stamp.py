"""A stamp says that a step was done for exactly these inputs, so that the next run may skip it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamp:
    """`file` holds the fingerprint of the inputs for which the step was last done."""

    file: Path
    fingerprint: str

    def is_current(self) -> bool:
        """True when the step was done for these inputs and nothing has changed since."""
        try:
            return self.file.read_text() == self.fingerprint
        except FileNotFoundError:
            return False

    def write(self) -> None:
        """To be called after the step's last act. Also renews the file's time, which `make` goes by."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self.fingerprint)


def stamp(file: Path, inputs: Iterable[Path], *words: str) -> Stamp:
    """A stamp over the content of `inputs` (which must exist) and over `words`, in this order."""
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(f"{part.name}\0{part.stat().st_size}\0".encode())
        digest.update(part.read_bytes())
    digest.update("\0".join(words).encode())
    return Stamp(file, digest.hexdigest())

"""Temporary files on disk that hold a bundle while it is published, so that its size does not count as memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

PIECE = 64 * 1024  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of an open file."""

    descriptor: int
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """The bytes in order. Raises OSError if the file has fewer."""
        at, end = self.offset, self.offset + self.size
        while at < end:
            data = os.pread(self.descriptor, min(PIECE, end - at), at)
            if not data:
                raise OSError("the temporary file is shorter than it was")
            at += len(data)
            yield data


class Spool:
    """The archive as it was downloaded and the content of its files one after the other. Both files have no name: they
    are gone when this is closed, or when the process ends."""

    def __init__(self) -> None:
        self.packed = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.content = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.packed.close()
        self.content.close()

    def write(self, data: bytes) -> None:
        """Adds to the archive. Raises OSError where the folder for temporary files has no room."""
        view = memoryview(data)
        while view:
            view = view[self.packed.write(view) :]

    def restart(self) -> None:
        """Forgets what was written: a download begins again."""
        self.packed.seek(0)
        self.packed.truncate()

    def rewind(self) -> None:
        """Before the archive is read."""
        self.packed.seek(0)

    def part(self, offset: int, size: int) -> Part:
        return Part(self.content.fileno(), offset, size)

"""Reads the headers of an untrusted tar.gz archive. Memory and work do not depend on what the headers say.

Takes what build tools write: ustar, pax headers (path and size are used) and GNU long names; anything else is refused.
The standard library only: a child process with narrow limits imports this.
Source: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 64 * 1024  # bytes that are read at once
_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\0\n]{1,200})=")


class Refused(Exception):
    """The bundle can't be published as it is; the message names the file or the limit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A header of the archive: kind `file`, `folder` or `other` (a link or a device)."""

    name: str
    size: int
    kind: str


class Unpacked:
    """The bytes in a gzip stream. What the archive has beside its files is counted."""

    def __init__(self, source: BinaryIO, headers: int) -> None:
        self._stream = gzip.GzipFile(fileobj=source)
        self._most = self._left = headers

    def read(self, size: int) -> bytes:
        """At most `size` bytes, which is small; fewer only at the end."""
        try:
            return self._stream.read(size)
        except (EOFError, OSError, zlib.error) as error:
            name = type(error).__name__
            raise Refused(f"it is no tar.gz archive ({name}); publish what the build made") from error

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise Refused("the archive ended in the middle; it is no tar.gz archive that the build completed")
        return data

    def header(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise Refused(f"the headers of the archive have more than {self._most} bytes in all")
        return self.exactly(size)

    def content(self, size: int) -> Iterator[bytes]:
        """The content of a file in pieces."""
        left = size
        while left:
            data = self.exactly(min(left, PIECE))
            left -= len(data)
            yield data
        self.exactly(-size % _BLOCK)

    def skip_to_the_end(self) -> None:
        """Zeros fill the last record of an archive. The end also has the stream's checksum."""
        while data := self.read(PIECE):
            self._left -= len(data)
            if self._left < 0 or data.strip(b"\0"):
                raise Refused("there are bytes after the end of the archive")


def entries(stream: Unpacked, header: int) -> Iterator[Entry]:
    """The archive's headers in order; whoever takes a file reads `content` of it before the next one. An extended
    header has at most `header` bytes."""
    named: dict[str, str] = {}
    while (block := stream.header(_BLOCK)).strip(b"\0"):
        size = _number(block[124:136])
        if sum(block) - sum(block[148:156]) + 8 * 32 != _number(block[148:156]):
            raise Refused("it is no tar.gz archive (a header has a wrong checksum); publish what the build made")
        kind = block[156:157]
        if kind in (b"x", b"g", b"L", b"K"):
            if size > header:
                raise Refused(f"a header of the archive has {size} bytes, allowed are {header}")
            data = stream.header(size + -size % _BLOCK)[:size]
            named |= _extended(kind, data)
            continue
        name = named.get("path") or _name(block)
        if "size" in named:
            size = int(named["size"]) if re.fullmatch("[0-9]{1,12}", named["size"]) else -1
        if size < 0 or any(key.startswith("GNU.sparse") for key in named):
            raise Refused(f"{shown(name)} has a header that bundles can't have")
        named = {}
        if kind == b"5" or (kind == b"\0" and name.endswith("/")):
            if size:
                raise Refused(f"{shown(name)} is a folder with content")
            yield Entry(name, 0, "folder")
        else:
            yield Entry(name, size, "file" if kind in (b"0", b"\0", b"7") else "other")
    stream.skip_to_the_end()


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """What a header says of the entry after it."""
    if kind == b"L":
        return {"path": data.partition(b"\0")[0].decode("utf-8", "replace")}
    if kind != b"x":
        return {}
    found: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at]:
        record = _RECORD.match(data, at)
        if record is None or not record.end() - at < int(record[1]) <= len(data) - at:
            raise Refused("it is no tar.gz archive (a pax header can't be read); publish what the build made")
        key = record[2].decode("utf-8", "replace")
        if key in ("path", "size") or key.startswith("GNU.sparse"):
            found[key] = data[record.end() : at + int(record[1]) - 1].decode("utf-8", "replace")
        at += int(record[1])
    return found


def shown(name: str) -> str:
    """A name as a message shows it."""
    return name[:100]


def _number(field: bytes) -> int:
    digits = _OCTAL.fullmatch(field)
    if digits is None:
        raise Refused("it is no tar.gz archive (a header has no number); publish what the build made")
    return int(digits[1] or b"0", 8)


def _name(block: bytes) -> str:
    name, prefix = block[:100].partition(b"\0")[0], b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")

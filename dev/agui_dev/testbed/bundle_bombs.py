"""Archives made to exhaust whoever unpacks them, and large ones that are within the limits."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator

MB = 1024 * 1024
PAGE = b"<!doctype html><title>page</title>"
_ZEROS = bytes(MB)


def zipped(pieces: Iterable[bytes]) -> bytes:
    """A gzip stream, made without the whole content in memory."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.USTAR_FORMAT)


def zeros(size: int) -> Iterator[bytes]:
    """Content of `size` bytes with its padding."""
    size += -size % 512
    for _ in range(size // MB):
        yield _ZEROS
    yield _ZEROS[: size % MB]


def content(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + bytes(-len(data) % 512)


def sha384(size: int) -> str:
    digest = hashlib.sha384()
    for _ in range(size // MB):
        digest.update(_ZEROS)
    digest.update(_ZEROS[: size % MB])
    return base64.b64encode(digest.digest()).decode()


def manifest(files: Iterable[tuple[str, int, str]], content_type: str = "application/octet-stream") -> bytes:
    page = {
        "path": "index.html",
        "size": len(PAGE),
        "sha384": base64.b64encode(hashlib.sha384(PAGE).digest()).decode(),
        "contentType": "text/html",
    }
    listed = [{"path": p, "size": s, "sha384": h, "contentType": content_type} for p, s, h in files]
    return json.dumps(
        {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": "/copilotkit", "files": [page, *listed]}
    ).encode()


def good(*first: bytes) -> Iterator[bytes]:
    """A small bundle after other bytes."""
    yield from first
    yield content("manifest.json", manifest(())) + content("index.html", PAGE) + bytes(1024)


def legal(files: int, size: int) -> bytes:
    """A bundle of zeros as its manifest says."""
    names = [f"assets/part-{number:04}.bin" for number in range(files)]
    digest = sha384(size)

    def pieces() -> Iterator[bytes]:
        for name in names:
            yield header(name, size)
            yield from zeros(size)
        yield from good_with(manifest((name, size, digest) for name in names))

    return zipped(pieces())


def good_with(text: bytes) -> Iterator[bytes]:
    yield content("manifest.json", text) + content("index.html", PAGE) + bytes(1024)


def extended(kind: bytes, size: int) -> bytes:
    """One extended header (pax or GNU long name) of `size` bytes, before a good bundle."""

    def pieces() -> Iterator[bytes]:
        yield header("x", size, kind)
        if kind == tarfile.XHDTYPE:
            yield f"{size} comment=".encode()
            yield from _cut(zeros(size), len(f"{size} comment="))
        else:
            yield from zeros(size)
        yield from good()

    return zipped(pieces())


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    yield next(pieces)[size:]
    yield from pieces


def many(count: int, block: Callable[[int], bytes]) -> bytes:
    """Many blocks before a good bundle."""

    def pieces() -> Iterator[bytes]:
        for start in range(0, count, 1000):
            yield b"".join(block(number) for number in range(start, min(count, start + 1000)))
        yield from good()

    return zipped(pieces())


def folders(count: int) -> bytes:
    one = header("assets/folder/", 0, tarfile.DIRTYPE)
    return many(count, lambda _: one)


def header_chain(count: int) -> bytes:
    """Pax headers that no entry follows for a long time."""
    one = header("x", 20, tarfile.XHDTYPE) + b"20 comment=12345678\n".ljust(512, b"\0")
    return many(count, lambda _: one)


def one_file_listed(times: int, size: int) -> bytes:
    digest = sha384(size)

    def pieces() -> Iterator[bytes]:
        yield header("assets/a-1.bin", size)
        yield from zeros(size)
        yield from good_with(manifest(("assets/a-1.bin", size, digest) for _ in range(times)))

    return zipped(pieces())


def empty_members(count: int) -> bytes:
    """A gzip stream of many members without content."""
    return zipped([b""]) * count + zipped(good())


def long_gzip_name(size: int) -> bytes:
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * size + b"\0" + zipped(good())[10:]


def with_manifest(text: bytes) -> bytes:
    return zipped(good_with(text))


def sparse() -> bytes:
    """A GNU sparse file that says it is much larger than it is."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("assets/a-1.bin")
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**11)}
        tar.addfile(entry)
    return zipped([raw.getvalue()])


def bad_number(field: slice, value: bytes) -> bytes:
    """A header whose number is none; its checksum is right."""
    block = bytearray(header("assets/a-1.bin", 0))
    block[field] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return zipped(good(bytes(block)))

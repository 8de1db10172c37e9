"""A backend bucket on the web: objects as Cloud Storage serves them to a load balancer, behind Cloud CDN's rules.

A full answer (a *representation*) comes from the bucket or the cache; conditions, ranges and HEAD are then answered
from it, as a cache does. Source: https://cloud.google.com/storage/docs/xml-api/get-object-download
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import gzip
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import hdrs, web
from multidict import CIMultiDict

from localgcp.edge.cdn import Cache, CdnPolicy, Entry, cdn_policy, for_client, time_to_live
from localgcp.kit.interfaces import Buckets, StoredObject

_IN_MEMORY = 8 * 1024 * 1024  # larger objects are streamed from disk and never cached
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NO_SUCH_KEY = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code>"
    b"<Message>The specified key does not exist.</Message></Error>"
)


@dataclass(frozen=True, slots=True)
class Representation:
    """A whole answer. The body is in memory, or (`file`, `start`, `size`) on disk."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    size: int = 0


class BucketWeb:
    """`clock` gives seconds; tests move it."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = buckets
        self._clock = clock
        self._cache: Cache[Representation] = Cache()

    def invalidate(self, pattern: str) -> int:
        return self._cache.invalidate(pattern)

    async def fetch(
        self, backend: Mapping[str, Any], path: str, asked_path: str, request_headers: Mapping[str, str]
    ) -> Representation:
        """The answer of a backend bucket for `path` (already rewritten), through the cache if it has one.
        `asked_path` is the client's path. `x-cache-status` says hit, miss or uncacheable."""
        bucket, policy = str(backend.get("bucketName", "")), cdn_policy(backend)
        gzipped = "gzip" in request_headers.get(hdrs.ACCEPT_ENCODING, "").lower()
        if not policy.enabled:
            return await self._read(bucket, path, gzipped)
        key = (str(backend.get("selfLink") or backend.get("name", "")), bucket, path, str(gzipped))
        bypass = any(name in request_headers for name in policy.bypass_headers)
        now = self._clock()
        if not bypass and (entry := self._cache.get(key, now)) is not None:
            return _with_headers(entry.value, {"Age": str(entry.age(now)), "X-Cache-Status": "hit"})
        origin = await self._read(bucket, path, gzipped)
        ttl = time_to_live(policy, origin.status, origin.headers, authorized=hdrs.AUTHORIZATION in request_headers)
        answer = _for_client(policy, origin, ttl)
        if ttl > 0 and answer.file is None and not bypass:
            paths = tuple({path, asked_path})
            self._cache.put(key, Entry(answer, now, ttl, len(answer.body) + 1024, paths))
            return _with_headers(answer, {"X-Cache-Status": "miss"})
        return _with_headers(answer, {"X-Cache-Status": "uncacheable"})

    async def _read(self, bucket: str, path: str, gzipped: bool) -> Representation:
        name = unquote(path.removeprefix("/"))
        stored = self._buckets.read(bucket, name) if name else None
        if stored is None:
            return _not_found()
        try:
            return await asyncio.to_thread(_represent, stored, gzipped)
        except FileNotFoundError:  # deleted between the look-up and the read
            return _not_found()


async def respond(request: web.BaseRequest, full: Representation, *, status: int | None = None) -> web.StreamResponse:
    """Sends a representation: conditions, one range, HEAD. `status` replaces the status of an error page."""
    answer = full if status is not None else conditioned(full, request.headers)
    code = status if status is not None else answer.status
    headers = answer.headers.copy()
    length = answer.size if answer.file is not None else len(answer.body)
    if code != 304:
        headers[hdrs.CONTENT_LENGTH] = str(length)
    response = web.StreamResponse(status=code, headers=headers)
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD or answer.file is None:
        await response.write_eof(b"" if request.method == hdrs.METH_HEAD else answer.body)
        return response
    with answer.file.open("rb") as stream:
        stream.seek(answer.start)
        left = answer.size
        while left and (chunk := await asyncio.to_thread(stream.read, min(_CHUNK, left))):
            left -= len(chunk)
            await response.write(chunk)
    await response.write_eof()
    return response


def conditioned(full: Representation, request_headers: Mapping[str, str]) -> Representation:
    """304, 206, 412 or 416 where the request's conditions say so (RFC 9110 sections 13 and 14), else the whole."""
    if full.status != 200:
        return full
    etag, modified = full.headers.get(hdrs.ETAG, ""), full.headers.get(hdrs.LAST_MODIFIED, "")
    if (match := request_headers.get(hdrs.IF_MATCH)) and not _names(match, etag):
        return Representation(412, CIMultiDict({hdrs.CONTENT_TYPE: "text/plain"}), b"Precondition Failed")
    none_match = request_headers.get(hdrs.IF_NONE_MATCH)
    unchanged = _names(none_match, etag) if none_match else _not_since(request_headers, modified)
    if unchanged:
        kept = full.headers.copy()
        for name in (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.CONTENT_LENGTH):
            kept.popall(name, None)
        return Representation(304, kept)
    condition = request_headers.get(hdrs.IF_RANGE)
    if condition and condition not in (etag, modified):
        return full
    return _ranged(full, request_headers.get(hdrs.RANGE, ""))


def _ranged(full: Representation, header: str) -> Representation:
    asked = _RANGE.fullmatch(header.strip())
    if asked is None or not (asked[1] or asked[2]) or full.headers.get(hdrs.ACCEPT_RANGES) != "bytes":
        return full  # none, several, or a unit that we do not know: the whole object
    size = full.size if full.file is not None else len(full.body)
    if asked[1]:
        first, last = int(asked[1]), min(int(asked[2]) if asked[2] else size - 1, size - 1)
    else:
        first, last = max(0, size - int(asked[2])), size - 1
    headers = full.headers.copy()
    if first > last or first >= size:
        headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
        return Representation(416, headers)
    headers[hdrs.CONTENT_RANGE] = f"bytes {first}-{last}/{size}"
    if full.file is not None:
        return replace(full, status=206, headers=headers, start=first, size=last - first + 1)
    return Representation(206, headers, full.body[first : last + 1])


def _names(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags


def _not_since(request_headers: Mapping[str, str], modified: str) -> bool:
    since = request_headers.get(hdrs.IF_MODIFIED_SINCE)
    if not since:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False


def _represent(stored: StoredObject, accepts_gzip: bool) -> Representation:
    headers = _object_headers(stored)
    unpack = stored.content_encoding == "gzip" and not accepts_gzip and "no-transform" not in stored.cache_control
    if stored.content_encoding == "gzip":
        headers[hdrs.VARY] = "Accept-Encoding"
    if unpack and stored.size <= _IN_MEMORY:
        try:
            body = gzip.decompress(stored.path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, FileNotFoundError):
                raise
        else:  # decompressive transcoding: the stored bytes' hash and ranges no longer apply
            for name in (hdrs.CONTENT_ENCODING, hdrs.ACCEPT_RANGES):
                headers.popall(name, None)
            headers[hdrs.ETAG] = f"W/{headers[hdrs.ETAG]}"
            headers["Warning"] = "214 UploadServer gunzipped"
            return Representation(200, headers, body)
    if stored.size > _IN_MEMORY:
        return Representation(200, headers, file=stored.path, size=stored.size)
    return Representation(200, headers, stored.path.read_bytes())


def _object_headers(stored: StoredObject) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    headers[hdrs.CONTENT_TYPE] = stored.content_type or "application/octet-stream"
    # Objects that anyone may read get this when they say nothing themselves.
    headers[hdrs.CACHE_CONTROL] = stored.cache_control or "public, max-age=3600"
    headers[hdrs.ETAG] = f'"{_hex(stored.md5_base64) or stored.generation}"'
    headers[hdrs.LAST_MODIFIED] = formatdate(stored.path.stat().st_mtime, usegmt=True)
    headers[hdrs.ACCEPT_RANGES] = "bytes"
    if stored.content_encoding:
        headers[hdrs.CONTENT_ENCODING] = stored.content_encoding
    headers["x-goog-generation"] = str(stored.generation)
    headers["x-goog-metageneration"] = str(stored.metageneration)
    headers["x-goog-stored-content-length"] = str(stored.size)
    headers["x-goog-stored-content-encoding"] = stored.content_encoding or "identity"
    headers["x-goog-hash"] = f"crc32c={stored.crc32c_base64}"
    headers.add("x-goog-hash", f"md5={stored.md5_base64}")
    for name, value in stored.metadata.items():
        headers[f"x-goog-meta-{name}"] = value
    headers[hdrs.SERVER] = "UploadServer"
    return headers


def _hex(md5_base64: str) -> str:
    try:
        return base64.b64decode(md5_base64).hex()
    except binascii.Error:
        return ""


def _not_found() -> Representation:
    headers: CIMultiDict[str] = CIMultiDict()
    headers[hdrs.CONTENT_TYPE] = "application/xml; charset=UTF-8"
    headers[hdrs.SERVER] = "UploadServer"
    return Representation(404, headers, _NO_SUCH_KEY)


def _for_client(policy: CdnPolicy, origin: Representation, ttl: float) -> Representation:
    cache_control = for_client(policy, origin.headers, ttl)
    return origin if cache_control is None else _with_headers(origin, {hdrs.CACHE_CONTROL: cache_control})


def _with_headers(origin: Representation, changed: Mapping[str, str]) -> Representation:
    headers = origin.headers.copy()
    headers.update(changed)
    return replace(origin, headers=headers)

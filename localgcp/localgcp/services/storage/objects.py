"""Objects of Cloud Storage: metadata, downloads, listing, copy, rewrite, compose. Uploads are in `uploads`.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.paging import Limits, rest_page
from localgcp.kit.rest import json_body, json_response
from localgcp.kit.schema import checked, merged, without_nulls
from localgcp.services.storage.preconditions import Preconditions
from localgcp.services.storage.store import STORE, Json

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_CHUNK = 256 * 1024
_MOST_SOURCES = 32
PAGE = Limits(default=1000, largest=1000)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Objects:
    def __init__(self, cloud: Cloud) -> None:
        self._store = cloud.part(STORE)

    async def list(self, request: web.Request, call: Call) -> web.Response:
        query, bucket = request.query, request.match_info["bucket"]
        self._store.bucket(bucket)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        trailing = query.get("includeTrailingDelimiter") == "true"
        entries: dict[str, Json | None] = {}  # None: a prefix
        for name, record in self._store.names(bucket, prefix):
            if name < start or (end and name >= end):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                entries[name[: cut + len(delimiter)]] = None
                if not trailing or cut + len(delimiter) != len(name):
                    continue
                entries[name + "\0"] = record  # beside the prefix of the same name
                continue
            entries[name] = record
        found, token = rest_page(request, call.method, entries.items(), lambda entry: (entry[0],), PAGE)
        body: Json = {"kind": "storage#objects", **token}
        if prefixes := [name for name, record in found if record is None]:
            body["prefixes"] = prefixes
        if items := [shown(request, record) for _, record in found if record is not None]:
            body["items"] = items
        return json_response(body)

    async def get(self, request: web.Request, call: Call) -> web.StreamResponse:
        if request.query.get("alt") == "media":
            return await self.download(request, call)
        return json_response(shown(request, self._found(request, reading=True)))

    async def download(self, request: web.Request, call: Call) -> web.StreamResponse:
        record = self._found(request, reading=True)
        path, size = self._store.path(record), int(record["size"])
        headers = _media_headers(record)
        if record.get("contentEncoding") == "gzip" and "gzip" not in request.headers.get("Accept-Encoding", ""):
            # Decompressive transcoding: https://cloud.google.com/storage/docs/transcoding
            del headers["Content-Encoding"]
            body = await asyncio.to_thread(lambda: gzip.decompress(path.read_bytes()))
            return web.Response(body=body, headers=headers)
        first, last = _range(request.headers.get("Range", ""), size)
        response = web.StreamResponse(status=200 if last - first + 1 == size else 206, headers=headers)
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        response.content_length = last - first + 1
        with path.open("rb") as file:
            await response.prepare(request)
            file.seek(first)
            left = last - first + 1
            while left > 0 and (chunk := await asyncio.to_thread(file.read, min(_CHUNK, left))):
                await response.write(chunk)
                left -= len(chunk)
        await response.write_eof()
        return response

    async def patch(self, request: web.Request, call: Call) -> web.Response:
        body = checked("storage", "Object", await json_body(request))
        record = self._found(request)
        return json_response(shown(request, self._store.change(record, merged(record, body), call)))

    async def update(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("storage", "Object", await json_body(request)))
        return json_response(shown(request, self._store.change(self._found(request), body, call)))

    async def delete(self, request: web.Request, call: Call) -> web.Response:
        self._store.delete(self._found(request), call)
        return web.Response(status=204)

    async def copy(self, request: web.Request, call: Call) -> web.Response:
        return json_response(shown(request, await self._copied(request, call)))

    async def rewrite(self, request: web.Request, call: Call) -> web.Response:
        record = await self._copied(request, call)
        body = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": record["size"],
            "objectSize": record["size"],
            "done": True,
            "resource": shown(request, record),
        }
        return json_response(body)

    async def compose(self, request: web.Request, call: Call) -> web.Response:
        body = checked("storage", "ComposeRequest", await json_body(request))
        bucket, name = request.match_info["bucket"], request.match_info["object"]
        sources = body.get("sourceObjects") or []
        if not 1 <= len(sources) <= _MOST_SOURCES:
            raise from_http(400, f"The number of source components must be 1 to {_MOST_SOURCES}.", "invalid")
        conditions = Preconditions.of(request.query)
        records = []
        for source in sources:
            record = self._store.object(bucket, source.get("name", ""), str(source.get("generation") or ""))
            wanted = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
            Preconditions(generation=None if wanted is None else int(wanted)).check(record)
            records.append(record)
        incoming = self._store.incoming()
        try:
            for record in records:
                await asyncio.to_thread(incoming.append_file, self._store.path(record))
            fields = without_nulls(body.get("destination") or {})
            fields.setdefault("contentType", records[0].get("contentType"))
            fields["componentCount"] = sum(record.get("componentCount", 1) for record in records)
            made = self._store.commit(bucket, name, incoming, fields, conditions, call)
        finally:
            incoming.path.unlink(missing_ok=True)
        if body.get("deleteSourceObjects"):
            for record in records:
                if record["name"] != name:
                    self._store.delete(record, call)
        return json_response(shown(request, made))

    async def _copied(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("storage", "Object", await json_body(request)))
        where, query = request.match_info, request.query
        source = self._store.object(where["bucket"], where["object"], query.get("sourceGeneration", ""))
        Preconditions.of(query, "ifSource").check(source)
        conditions = Preconditions.of(query)
        incoming = self._store.incoming()
        try:
            await asyncio.to_thread(incoming.append_file, self._store.path(source))
            fields = {k: v for k, v in (body or source).items() if k not in ("md5Hash", "crc32c")}
            fields.setdefault("contentType", source.get("contentType"))
            bucket, name = where["destinationBucket"], where["destinationObject"]
            return self._store.commit(bucket, name, incoming, fields, conditions, call)
        finally:
            incoming.path.unlink(missing_ok=True)

    def _found(self, request: web.Request, *, reading: bool = False) -> Json:
        """The object that a request is about, preconditions checked."""
        where = request.match_info
        record = self._store.object(where["bucket"], where["object"], request.query.get("generation", ""))
        Preconditions.of(request.query).check(record, reading=reading)
        return record


def shown(request: web.Request, record: Mapping[str, Any]) -> Json:
    """An object as the API shows it: without private fields, with links to the address that was asked."""
    base = f"{request.scheme}://{request.host}"
    path = f"storage/v1/b/{record['bucket']}/o/{quote(record['name'], safe='')}"
    links = {
        "selfLink": f"{base}/{path}",
        "mediaLink": f"{base}/download/{path}?generation={record['generation']}&alt=media",
    }
    return {key: value for key, value in record.items() if not key.startswith("_")} | links


def _media_headers(record: Mapping[str, Any]) -> dict[str, str]:
    hashes = [f"crc32c={record['crc32c']}"] + ([f"md5={record['md5Hash']}"] if "md5Hash" in record else [])
    headers = {
        "Content-Type": record["contentType"],
        "ETag": record["etag"],
        "X-Goog-Generation": record["generation"],
        "X-Goog-Metageneration": record["metageneration"],
        "X-Goog-Storage-Class": record["storageClass"],
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Stored-Content-Encoding": record.get("contentEncoding") or "identity",
        "X-Goog-Stored-Content-Length": record["size"],
        "Cache-Control": record.get("cacheControl") or "no-cache, no-store, max-age=0, must-revalidate",
        "Accept-Ranges": "bytes",
    }
    for header in ("contentEncoding", "contentDisposition", "contentLanguage"):
        if value := record.get(header):
            headers["Content-" + header.removeprefix("content")] = value
    return headers


def _range(header: str, size: int) -> tuple[int, int]:
    """First and last byte wanted. Raises ApiError 416."""
    match = _RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return 0, size - 1
    first, last = match.groups()
    if first == "":
        return max(size - int(last), 0), size - 1
    if int(first) >= size:
        raise from_http(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
    return int(first), min(int(last) if last else size - 1, size - 1)

"""Uploads to Cloud Storage: simple (media), multipart, and resumable sessions that survive a restart of localgcp.

Source: https://cloud.google.com/storage/docs/uploads-downloads and .../performing-resumable-uploads
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, MultipartReader, web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.rest import json_body, json_object, json_response
from localgcp.kit.schema import checked, without_nulls
from localgcp.services.storage.objects import shown
from localgcp.services.storage.preconditions import Preconditions
from localgcp.services.storage.store import STORE, Incoming, Json

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_CHUNK_UNIT = 256 * 1024  # all chunks but the last are multiples of it
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_PART_SIZE = 1024 * 1024


class Uploads:
    """Sessions are records: bucket, name, fields and query of the request that opened them, and their file's name."""

    def __init__(self, cloud: Cloud) -> None:
        self._store = cloud.part(STORE)
        self._sessions = cloud.store.json("storage.uploads")
        self._open: dict[str, Incoming] = {}

    async def insert(self, request: web.Request, call: Call) -> web.Response:
        kind = request.query.get("uploadType", "")
        if kind == "resumable":
            return await self._begin(request)
        if kind not in ("media", "multipart"):
            raise from_http(400, f"Invalid uploadType: {kind!r}", "invalid", location="uploadType")
        self._store.bucket(request.match_info["bucket"])
        incoming = self._store.incoming()
        try:
            if kind == "media":
                fields = {"contentType": request.headers.get("Content-Type", "application/octet-stream")}
                await _receive(request, incoming)
            else:
                fields = await _receive_parts(request, incoming)
            if encoding := request.query.get("contentEncoding"):
                fields["contentEncoding"] = encoding
            fields |= _hashes(request)
            return self._commit(request, call, request.match_info["bucket"], fields, request.query, incoming)
        finally:
            incoming.path.unlink(missing_ok=True)

    async def resume(self, request: web.Request, call: Call) -> web.Response:
        """A chunk of a session, or the question how much has arrived ("bytes */N")."""
        upload, session, incoming = await self._session(request)
        header = request.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(header)
        if header and not match:
            raise from_http(400, f"Failed to parse Content-Range header: {header!r}", "badRequest")
        first, total = (match[1], match[3]) if match else ("0", "*")
        if first is None:
            if total == str(incoming.size):
                return self._finish(request, call, upload, session, incoming)
            return _incomplete(incoming)
        if int(first) != incoming.size:
            if int(first) > incoming.size:
                raise from_http(503, f"the chunk starts at {first}, but {incoming.size} bytes have arrived")
            return _incomplete(incoming)
        data = await request.read()
        final = not match or (total != "*" and int(total) == incoming.size + len(data))
        if not final:
            data = data[: len(data) // _CHUNK_UNIT * _CHUNK_UNIT]  # the rest is sent again, as on Google
        await asyncio.to_thread(incoming.append, data)
        return self._finish(request, call, upload, session, incoming) if final else _incomplete(incoming)

    async def cancel(self, request: web.Request, call: Call) -> web.Response:
        upload, _, incoming = await self._session(request)
        self._forget(upload, incoming)
        return web.Response(status=499)

    async def _begin(self, request: web.Request) -> web.Response:
        fields = without_nulls(checked("storage", "Object", await json_body(request)))
        bucket = request.match_info["bucket"]
        self._store.bucket(bucket)
        name = _name(fields, request.query)
        Preconditions.of(request.query).check(self._store.objects.get(f"{bucket}/{name}"))
        if content_type := request.headers.get("X-Upload-Content-Type"):
            fields.setdefault("contentType", content_type)
        upload, incoming = uuid.uuid4().hex, self._store.incoming()
        session: Json = {"fields": fields | {"name": name}, "bucket": bucket, "file": incoming.path.name}
        session["query"] = {k: v for k, v in request.query.items() if k.startswith("if")}
        self._sessions.put(upload, session)
        self._open[upload] = incoming
        base = f"{request.scheme}://{request.host}{request.rel_url.raw_path}"
        headers = {"Location": f"{base}?uploadType=resumable&upload_id={upload}", "X-GUploader-UploadID": upload}
        return web.Response(headers=headers)

    async def _session(self, request: web.Request) -> tuple[str, Json, Incoming]:
        upload = request.query.get("upload_id", "")
        session = self._sessions.get(upload)
        if session is None:
            raise from_http(404, f"no upload session {upload!r}; it may be finished or cancelled", "notFound")
        if upload not in self._open:
            self._open[upload] = await asyncio.to_thread(self._store.resumed, session["file"])
        return upload, session, self._open[upload]

    def _finish(self, request: web.Request, call: Call, upload: str, session: Json, incoming: Incoming) -> web.Response:
        try:
            fields = session["fields"] | _hashes(request)
            return self._commit(request, call, session["bucket"], fields, session["query"], incoming)
        finally:
            self._forget(upload, incoming)

    def _forget(self, upload: str, incoming: Incoming) -> None:
        self._sessions.delete(upload)
        self._open.pop(upload, None)
        incoming.path.unlink(missing_ok=True)

    def _commit(
        self,
        request: web.Request,
        call: Call,
        bucket: str,
        fields: Mapping[str, Any],
        query: Mapping[str, str],
        incoming: Incoming,
    ) -> web.Response:
        name = _name(fields, request.query)
        record = self._store.commit(bucket, name, incoming, fields, Preconditions.of(query), call)
        return json_response(shown(request, record))


def _name(fields: Mapping[str, Any], query: Mapping[str, str]) -> str:
    name = str(fields.get("name") or query.get("name", ""))
    if not name:
        raise from_http(400, "Required parameter: name", "required", location="name")
    return name


def _hashes(request: web.Request) -> dict[str, str]:
    """Checksums that the client sends in a header: `X-Goog-Hash: crc32c=...,md5=...`."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    pairs = (part.strip().partition("=") for part in request.headers.get("X-Goog-Hash", "").split(","))
    return {names[key]: value for key, _, value in pairs if key in names and value}


def _incomplete(incoming: Incoming) -> web.Response:
    """308 Resume Incomplete; no Range header as long as nothing has arrived."""
    return web.Response(status=308, headers={"Range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {})


async def _receive(source: web.Request, incoming: Incoming) -> None:
    async for chunk in source.content.iter_chunked(_PART_SIZE):
        await asyncio.to_thread(incoming.append, chunk)


async def _receive_parts(request: web.Request, incoming: Incoming) -> Json:
    """Metadata and media of a multipart/related body. Raises ApiError 400."""
    try:
        reader = MultipartReader.from_response(request)  # type: ignore[arg-type]
        metadata, media = await reader.next(), None
        if isinstance(metadata, BodyPartReader):
            fields = without_nulls(checked("storage", "Object", json_object(bytes(await metadata.read()))))
            media = await reader.next()
        if not isinstance(media, BodyPartReader):
            raise from_http(400, "a multipart upload has two parts: metadata and media", "badRequest")
        fields.setdefault("contentType", media.headers.get("Content-Type", "application/octet-stream"))
        while chunk := await media.read_chunk(_PART_SIZE):
            await asyncio.to_thread(incoming.append, chunk)
        return fields
    except (ValueError, AssertionError) as error:
        raise from_http(400, f"Malformed multipart body: {error}", "badRequest") from error

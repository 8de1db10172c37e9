"""Assets check: a browser that opens this release gets every file, byte for byte, with the headers that make a
rollback safe.

Html must never be cached and hashed files always may be: then moving the release pointer is the whole of a rollback.
What is checked is the public origin, because it is the way that users go.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping

from agui_operator.api.smoke import AssetsCheck
from agui_operator.checks.guard import Guard, Stream, TooLarge, Unreachable
from agui_operator.checks.page import ALGORITHMS, Loads, Page, Reference, has_directive, integrity_of, read_page
from agui_operator.checks.target import CheckTarget, Failed, Passed
from agui_operator.core.words import published

PAGE_LIMIT = 256 * 1024  # html and manifest
FILE_LIMIT = 16 * 1024 * 1024
FILES_LIMIT = 128
_AT_ONCE = 6
_TYPES = {
    Loads.SCRIPT: ("text/javascript", "application/javascript", "application/x-javascript", "text/ecmascript"),
    Loads.MODULE: ("text/javascript", "application/javascript"),
    Loads.STYLESHEET: ("text/css",),
}


async def check_assets(check: AssetsCheck, target: CheckTarget, guard: Guard, seconds: float) -> Passed:
    """The release folder's page, and the one at `/`: after promotion as everybody meets it, before as a request meets
    it that names the candidate. That it has arrived there is known before (arrival.py). Raises Failed, Unreachable,
    TooLarge, Refused. The latency is the time to the page."""
    if target.frontend is None:
        raise Failed("expected a frontend; the release has none")
    site = _Site(target, guard, asyncio.get_running_loop().time() + seconds)
    folder = f"/releases/{target.frontend}"
    html, latency = await site.page(f"{folder}/index.html")
    if target.public or target.by_name is not None:
        shown, latency = await site.page("/")
        if shown != html:
            asked = "/" if target.public else "/ for requests that name the release"
            raise Failed(f"expected release folder {target.frontend} at {asked}; another page is served", 200, latency)
    page = read_page(html, "/" if target.public or target.by_name else f"{folder}/index.html")
    try:
        await _check_page(check, page, site, folder)
    except Failed as failed:
        raise Failed(str(failed), failed.code or 200, latency) from failed
    return Passed(f"the page and its {len(page.references)} files are as published", 200, latency)


async def _check_page(check: AssetsCheck, page: Page, site: _Site, folder: str) -> None:
    if page.has_base:
        raise Failed("expected a page without <base>; it has one")
    if not page.references:
        raise Failed("expected a page that loads a script or stylesheet; it loads none")
    if len(page.references) > FILES_LIMIT:
        raise Failed(f"expected at most {FILES_LIMIT} files; the page loads {len(page.references)}")
    wanted = check.integrity
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(reference: Reference) -> str | None:
        async with gate:
            return await site.fault_of(reference, wanted)

    for fault in await asyncio.gather(*(one(reference) for reference in page.references)):
        if fault is not None:
            raise Failed(fault)
    if check.runtime_url:
        await _check_runtime_url(page, site, folder)


async def _check_runtime_url(page: Page, site: _Site, folder: str) -> None:
    have, where = page.runtime_url, "the page"
    if have is None:
        have, where = await site.manifest_runtime_url(f"{folder}/manifest.json"), "manifest.json"
    if have is None:
        raise Failed("expected the runtime URL in the page or manifest.json; it is in neither")
    if have != site.target.runtime_url:
        raise Failed(
            f"expected the runtime URL of this environment; {where} has another: the bundle was built for another one"
        )


class _Site:
    """The public origin as the check reads it, within one deadline."""

    def __init__(self, target: CheckTarget, guard: Guard, ends_at: float) -> None:
        self.target = target
        self._guard = guard
        self._ends_at = ends_at

    def _left(self) -> float:
        return max(self._ends_at - asyncio.get_running_loop().time(), 0.001)

    async def page(self, path: str) -> tuple[bytes, float]:
        """The html at a path and the milliseconds it took."""
        reply = await self._guard.request(self.target.call(path, deadline=self._left()), limit=PAGE_LIMIT)
        if reply.code != 200:
            raise Failed(f"expected the page at {path}; the server answered {reply.code}", reply.code, reply.latency_ms)
        if _type(reply.headers) != "text/html":
            raise Failed(f"expected text/html at {path}; it has another type", reply.code, reply.latency_ms)
        if not has_directive(reply.headers.get("cache-control", ""), ("no-cache", "no-store", "max-age=0")):
            raise Failed(f"expected cache-control no-cache at {path}; it may be cached", reply.code, reply.latency_ms)
        if reply.truncated:
            raise Failed(f"expected a page of at most {PAGE_LIMIT // 1024} kB at {path}; it is longer", reply.code)
        return reply.body, reply.latency_ms

    async def manifest_runtime_url(self, path: str) -> str | None:
        reply = await self._guard.request(self.target.call(path, deadline=self._left()), limit=PAGE_LIMIT)
        if reply.code != 200:
            return None
        try:
            manifest = json.loads(reply.body)
        except (ValueError, RecursionError):
            return None
        value = manifest.get("runtimeUrl") if isinstance(manifest, dict) else None
        return value if isinstance(value, str) else None

    async def fault_of(self, reference: Reference, wanted: str) -> str | None:
        """What is wrong with one file that the page loads; None if nothing is."""
        if reference.path is None:
            return f"expected every {reference.loads} from the page's own origin; one comes from another"
        name = f"{reference.loads} {published(reference.path)}"
        allowed = integrity_of(reference.integrity)
        if allowed is None or ALGORITHMS.index(allowed[0]) < ALGORITHMS.index(wanted):
            return f"expected integrity of at least {wanted} on {name}; it has none or a weaker one"
        algorithm, digests = allowed
        try:
            async with self._guard.stream(
                self.target.call(reference.path, deadline=self._left()), limit=FILE_LIMIT
            ) as stream:
                fault = _fault_of_headers(stream, reference, name)
                if fault is not None:
                    return fault
                digest = hashlib.new(algorithm)
                async for chunk in stream.chunks():
                    digest.update(chunk)
        except (Unreachable, TooLarge) as failed:
            return f"expected {name}; {failed}"
        if digest.digest() not in digests:
            return f"expected the bytes that the integrity of {name} promises; others are served"
        return None


def _fault_of_headers(stream: Stream, reference: Reference, name: str) -> str | None:
    if stream.code != 200:
        return f"expected {name}; the server answered {stream.code}"
    if _type(stream.headers) not in _TYPES[reference.loads]:
        return f"expected {name} with its own content type; it has another"
    if stream.headers.get("content-encoding", "identity").lower() != "identity":
        return f"expected {name} without content-encoding, as asked for; it has one"
    in_pool = (reference.path or "").startswith("/assets/")
    if in_pool and not has_directive(stream.headers.get("cache-control", ""), ("immutable",)):
        return f"expected cache-control immutable on {name}; it is not"
    return None


def _type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()

"""Bundles that are open at this moment: few at a time, fairly among namespaces, on disk instead of in memory.

The archive is written to a temporary file while it is downloaded; a child process unpacks it into another one. What a
bundle costs in memory is a few pieces of 64 kB, however many there are and whatever their sizes.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import Bundle
from agui_operator.core.errors import CloudError, UserError
from agui_operator.fair import FairGate
from agui_operator.gcp.kinds.storage.bundle import BundleContents, BundleRefused, read_bundle
from agui_operator.gcp.kinds.storage.spool import Spool
from agui_operator.gcp.kinds.storage.unpack import BundleLimits
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.rest import RestRequest

if TYPE_CHECKING:
    import aiohttp

AT_ONCE, PER_NAMESPACE = 2, 1  # a second one, so that no namespace waits for what another one publishes
_CHUNK = 256 * 1024
_DOWNLOAD_SECONDS = 120.0
_REMEMBERED = 1000


class Publications:
    """One for the whole operator. What its bytes condemn is refused again without a download until the spec names
    another digest."""

    def __init__(self, limits: BundleLimits | None = None) -> None:
        self._limits = limits or BundleLimits()
        self._gate = FairGate(AT_ONCE, PER_NAMESPACE)
        self._refused: OrderedDict[Bundle, str] = OrderedDict()

    @asynccontextmanager
    async def opened(self, cloud: Cloud, bundle: Bundle, tenant: str) -> AsyncIterator[BundleContents]:
        """The contents of a bundle that is exactly what spec and manifest say, for the time of the block. Waits for the
        namespace's turn. Raises BundleRefused, UserError, CloudError."""
        self._check_not_refused(bundle)
        async with self._gate.turn(tenant):
            self._check_not_refused(bundle)
            with _spool() as spool:
                try:
                    await _download(cloud, bundle, spool, self._limits.packed)
                    contents = await read_bundle(spool, self._limits)
                except BundleRefused as refused:
                    if refused.final:
                        self._remember(bundle, str(refused))
                    raise
                except OSError as full:
                    raise _no_room(full) from full
                yield contents

    def _check_not_refused(self, bundle: Bundle) -> None:
        if bundle in self._refused:
            raise BundleRefused(self._refused[bundle], final=True)

    def _remember(self, bundle: Bundle, message: str) -> None:
        self._refused[bundle] = message.removeprefix("bundle refused: ")
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)


def _spool() -> Spool:
    try:
        return Spool()
    except OSError as full:
        raise _no_room(full) from full


def _no_room(error: OSError) -> OSError | CloudError:
    """An error of the disk as a fault that is retried; other errors stay what they are."""
    if isinstance(error, (ConnectionError, TimeoutError)) or error.errno not in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        None,
    ):
        return error
    return CloudError(
        507,
        "the operator's folder for temporary files has no room for the bundle; enlarge its volume",
        resource=tempfile.gettempdir(),
        retry_after=10.0,
    )


async def _download(cloud: Cloud, bundle: Bundle, spool: Spool, most: int) -> None:
    """Writes the bundle's bytes into the spool; refused while they stream in when they are too many, and when the
    digest is another one."""
    where = f"gs://{bundle.bucket}/{bundle.object}"

    async def read(response: aiohttp.ClientResponse) -> None:
        digest, size = hashlib.sha256(), 0
        spool.restart()
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > most:
                raise BundleRefused(f"{where} has more than {most} bytes")
            digest.update(chunk)
            spool.write(chunk)
        if digest.hexdigest() != bundle.sha256:
            raise BundleRefused(
                f"{where} has another sha256 than spec.frontend.bundle.sha256 says; correct one of them"
            )

    request = RestRequest(
        "storage.objects.get",
        f"/storage/v1/b/{path_part(bundle.bucket)}/o/{path_part(bundle.object)}?alt=media",
        project=bundle.bucket,
        resource=where,
        timeout=_DOWNLOAD_SECONDS,
        read=read,
        headers={"Accept-Encoding": "gzip"},  # the stored bytes: the digest is theirs
        auto_decompress=False,
    )
    try:
        await cloud.rest(request)
    except CloudError as error:
        if error.code != 404:
            raise
        advice = "upload the bundle or correct the name"
        message = f"spec.frontend.bundle.object: {where} does not exist; {advice}"
        raise UserError(message, reason=Reason.BUNDLE_NOT_FOUND) from error

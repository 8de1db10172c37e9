"""Bundles read in this process, without the child that reads them in the operator."""

from __future__ import annotations

import io
from dataclasses import dataclass

from agui_operator.gcp.kinds.storage.bundle import BundleContents, BundleFile, contents_of
from agui_operator.gcp.kinds.storage.spool import Spool
from agui_operator.gcp.kinds.storage.unpack import BundleLimits, report_of


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read, and the content of its files by path."""

    contents: BundleContents
    files: dict[str, bytes]
    manifest: bytes


def _data(file: BundleFile) -> bytes:
    return b"".join(file.content.pieces())


def read_here(data: bytes, limits: BundleLimits | None = None) -> Bundle:
    """Raises BundleRefused."""
    with Spool() as spool:
        report = report_of(io.BytesIO(data), spool.content, limits or BundleLimits())
        contents = contents_of(report, spool)
        return Bundle(contents, {file.path: _data(file) for file in contents.files}, _data(contents.manifest))

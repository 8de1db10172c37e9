"""What a release's html asks a browser to load. Pure: bytes in, references out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

ALGORITHMS = ("sha256", "sha384", "sha512")  # weakest first, as https://www.w3.org/TR/sri-2/ ranks them


class Loads(StrEnum):
    """What kind of file a reference loads."""

    SCRIPT = "script"
    MODULE = "module preload"
    STYLESHEET = "stylesheet"


@dataclass(frozen=True, slots=True)
class Reference:
    """One file that the page loads. `path` is None if it lies on another origin."""

    loads: Loads
    path: str | None
    integrity: str


@dataclass(frozen=True, slots=True)
class Page:
    references: tuple[Reference, ...]
    runtime_url: str | None  # <meta name="agui-runtime-url">
    has_base: bool  # <base href> moves every reference, and is never part of a release


def read_page(html: bytes, at: str) -> Page:
    """Parses html that was served at path `at`."""
    reader = _Reader(at)
    reader.feed(html.decode("utf-8", errors="replace"))
    reader.close()
    return Page(tuple(reader.references), reader.runtime_url, reader.has_base)


def integrity_of(attribute: str) -> tuple[str, frozenset[bytes]] | None:
    """The strongest algorithm of an `integrity` attribute and the digests it allows; None if it names none."""
    digests: dict[str, set[bytes]] = {}
    for token in attribute.split():
        name, dash, value = token.partition("-")
        if dash and name in ALGORITHMS:
            try:
                digest = base64.b64decode(value.partition("?")[0], validate=True)
            except (binascii.Error, ValueError):
                continue
            digests.setdefault(name, set()).add(digest)
    if not digests:
        return None
    strongest = max(digests, key=ALGORITHMS.index)
    return strongest, frozenset(digests[strongest])


class _Reader(HTMLParser):
    def __init__(self, at: str) -> None:
        super().__init__(convert_charrefs=True)
        self.references: list[Reference] = []
        self.runtime_url: str | None = None
        self.has_base = False
        self._at = at

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        match tag:
            case "script" if "src" in have:
                self._add(Loads.SCRIPT, have["src"], have)
            case "link" if "href" in have:
                self._link(have)
            case "meta" if have.get("name") == "agui-runtime-url":
                self.runtime_url = have.get("content", "")
            case "base":
                self.has_base = True

    def _link(self, have: dict[str, str]) -> None:
        rel = have.get("rel", "").lower().split()
        if "modulepreload" in rel:
            self._add(Loads.MODULE, have["href"], have)
        elif "stylesheet" in rel:
            self._add(Loads.STYLESHEET, have["href"], have)

    def _add(self, loads: Loads, url: str, have: dict[str, str]) -> None:
        self.references.append(Reference(loads, _path(url.strip(), self._at), have.get("integrity", "")))


def _path(url: str, at: str) -> str | None:
    try:
        joined = urlsplit(urljoin(f"https://page.invalid{at}", url))
    except ValueError:
        return None
    if (joined.scheme, joined.netloc) != ("https", "page.invalid"):
        return None
    return joined.path + (f"?{joined.query}" if joined.query else "")


def has_directive(cache_control: str, wanted: Iterable[str]) -> bool:
    """True if a Cache-Control header holds one of the directives, written as in the header (`max-age=0`)."""
    have = {part.strip().lower() for part in cache_control.split(",")}
    return any(directive in have for directive in wanted)

"""Which requests a page of another site could have caused, and the headers that keep pages from framing an answer.

Browsers say where a request comes from: `Origin` (https://fetch.spec.whatwg.org/#origin-header) and `Sec-Fetch-Site`
(https://www.w3.org/TR/fetch-metadata/). A client that sends neither is no browser, so that it carries no user's login
by itself. A page can send a POST without asking first only as a form or as text, hence JSON is required.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_JSON = re.compile(r"application/([\w.+-]+\+)?json")
_LOOPBACK = re.compile(r"(([\w-]+\.)*localhost\.?|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    message: str


FOREIGN = Refusal(403, "forbidden_origin", "this origin may not connect")
NOT_JSON = Refusal(415, "unsupported_media_type", "the body must have the content type application/json")
WRONG_HOST = Refusal(421, "misdirected_request", "this host name is not served here")


def foreign(headers: Mapping[str, str], allowed: tuple[str, ...]) -> bool:
    """Whether a page of another origin caused this request. `allowed` lists origins (`https://host`) that may."""
    origin = headers.get("origin")
    if origin is not None:
        return origin not in allowed and not _is_own(origin, headers)
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def cross_site(method: str, headers: Mapping[str, str], allowed: tuple[str, ...]) -> Refusal | None:
    """The refusal of an HTTP request, or None. Header names are in lower case.

    A link that a person follows (a top-level navigation with GET) may come from anywhere: its answer is shown to the
    person and to nobody else.
    """
    if method in SAFE_METHODS:
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return FOREIGN if foreign(headers, allowed) and not followed else None
    if foreign(headers, allowed):
        return FOREIGN
    return NOT_JSON if _has_body(headers) and not _is_json(headers.get("content-type", "")) else None


def names_this_machine(host: str) -> bool:
    """Whether a Host header names the loopback interface, which no DNS answer of a stranger can point elsewhere."""
    return bool(_LOOPBACK.fullmatch(host.lower()))


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    scheme, netloc = urlsplit(origin).scheme, urlsplit(origin).netloc
    if scheme not in _DEFAULT_PORTS or not netloc:
        return False
    hosts = {headers.get("host", ""), headers.get("x-forwarded-host", "")} - {""}
    return _with_port(netloc, scheme) in {_with_port(host, scheme) for host in hosts}


def _with_port(netloc: str, scheme: str) -> str:
    netloc = netloc.lower()
    return netloc if re.search(r":\d+$", netloc) else f"{netloc}:{_DEFAULT_PORTS[scheme]}"


def _has_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_json(content_type: str) -> bool:
    return bool(_JSON.fullmatch(content_type.partition(";")[0].strip().lower()))

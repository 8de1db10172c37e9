"""Which requests may have been sent by a web page that somebody visits, and what is answered to them. Pure.

A loopback port is no login: every page in a browser on this machine can send requests to it. Two things tell them from
those of clients, and a page can forge neither. `Origin` and `Sec-Fetch-Site` name the page's site. A `Host` that is no
name of this server shows that a name of the attacker leads here (DNS rebinding), so that for the browser page and
server are one origin.
Source: https://www.w3.org/TR/fetch-metadata/ and https://fetch.spec.whatwg.org/#origin-header
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_OWN = ("same-origin", "none")  # values of Sec-Fetch-Site: the server's own page, or a person at the address bar


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, always leads to this machine (RFC 6761 for names)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def host_name(header: str) -> str:
    """The host of a Host header or a network location: no port, no brackets, lower case, no dot at the end."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def allowed_origin(text: str) -> str:
    """An origin as browsers write it. Raises ValueError for what is none."""
    parts = urlsplit(text.strip().lower())
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.path.strip("/"):
        raise ValueError(f"{text!r} is no origin, such as http://127.0.0.1:3000")
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class Guard:
    """`host` is the address that the server is bound to; `names` are hosts that it answers to beside loopback ones,
    `origins` are sites whose pages may use it."""

    host: str = "127.0.0.1"
    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def wrong_host(self, header: str, serves: Callable[[str], bool]) -> str:
        """Why the Host of a request is refused; "" for one that is served here, by `serves` too."""
        name = host_name(header)
        if name and (is_loopback(name) or name in self.names or name == self.host or serves(name)):
            return ""
        if not is_loopback(self.host) and _address(name) is not None:
            return ""  # other machines come by an address; rebinding needs a name
        shown = name[:100] or "HOST"
        return (
            f"localgcp does not serve the host {shown!r}, so a web page may have sent this request (DNS rebinding). "
            f"Use 127.0.0.1 or a name below localhost, or allow the name: `localgcp serve --allow-host {shown}`."
        )

    def foreign_page(self, headers: Mapping[str, str]) -> str:
        """Why a request of a web page of another origin is refused; "" for one of a client, of the server's own page
        or of an allowed origin. `headers` are looked up by lower-case names."""
        origin = headers.get("origin", "").strip().lower()
        site = headers.get("sec-fetch-site", "none").strip().lower()
        if origin and origin in self.origins:
            return ""
        own = not origin or urlsplit(origin).netloc == headers.get("host", "").strip().lower() != ""
        if own and site in _OWN:
            return ""
        page = f"of {origin[:100]!r}" if origin else f"of another origin (Sec-Fetch-Site: {site[:20]!r})"
        shown = origin[:100] if origin and origin != "null" else "ORIGIN"
        return (
            f"A web page {page} sent this request, and localgcp takes none of pages. To let requests with that Origin "
            f"in: `localgcp serve --allow-origin {shown}`."
        )


def is_link(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a person followed a link in the browser: the page that the link is on learns nothing of the answer."""
    found = (headers.get("sec-fetch-mode", "").lower(), headers.get("sec-fetch-dest", "").lower())
    return method in ("GET", "HEAD") and found == ("navigate", "document") and "origin" not in headers


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

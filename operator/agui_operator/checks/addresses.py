"""Which hosts and addresses a check may talk to. Pure, so that a table of payloads can be held against it.

A check runs inside the cluster, next to metadata servers and databases: whoever chooses where it connects reads what
they may not. A block-list alone fails (`ipaddress.is_global` says True for the NAT64 and 6to4 forms of
169.254.169.254). So IPv6 is an allow-list of global unicast less its special parts, and IPv4 lists every
special-purpose block of the IANA registry (https://www.iana.org/assignments/iana-ipv4-special-registry) plus what
clouds add to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

Address = IPv4Address | IPv6Address


class Refused(Exception):
    """The guard does not send this request, or does not go on with it. The message says what to change, and holds no
    address that a name resolved to: that would tell a tenant what the cluster's DNS knows."""


_V4_SPECIAL = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "34.118.224.0/20",  # Service addresses that GKE hands out by default: public by number, private by use
        "100.64.0.0/10",  # carrier-grade NAT, and a metadata server elsewhere
        "127.0.0.0/8",
        "168.63.129.16/32",  # a platform endpoint on another cloud: public by number
        "169.254.0.0/16",  # link-local: metadata servers
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_SPECIAL = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo (an IPv4 address inside), ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_LOOPBACK = frozenset({ip_address("127.0.0.1"), ip_address("::1")})

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # resolvers read these as IPv4: 2130706433, 0x7f.1
_NEVER_PUBLIC = (
    "localhost",
    "internal",
    "local",
    "localdomain",
    "home.arpa",
    "svc",
    "onion",
    "test",
    "invalid",
)
_PATH = re.compile(r"/(?:[A-Za-z0-9._~:=&,+?/-]|%[0-9A-Fa-f]{2}){0,255}")
_ORIGIN = re.compile(r"(https?)://([^/?#@\\:\[\]\s]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port that the operator chose. `host` carries no brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" if self.port == _PORTS[self.scheme] else f"{self.scheme}://{host}:{self.port}"


def is_permitted(address: Address, *, allow_loopback: bool = False) -> bool:
    """True for an address of the public internet; with `allow_loopback` also for 127.0.0.1 and ::1."""
    if allow_loopback and address in _LOOPBACK:
        return True
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _V4_SPECIAL)
    if address.scope_id is not None:
        return False
    return address in _V6_GLOBAL and not any(address in block for block in _V6_SPECIAL)


def literal(host: str) -> Address | None:
    """The address that `host` spells in its one canonical form, else None."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address if str(address) == host else None


def parse_origin(text: str, *, allow_loopback: bool = False) -> Origin:
    """An origin as Cloud Run's API or the environment gave it. Raises Refused for anything that is more than scheme,
    host and port, and, unless `allow_loopback`, for anything but https on a public name's default port."""
    found = _ORIGIN.fullmatch(text)
    if found is None or not text.isascii():
        raise Refused("the origin is not of the form https://host")
    scheme, host, port_text = found[1], found[2].strip("[]").lower(), found[3]
    port = int(port_text) if port_text else _PORTS[scheme]
    if not 0 < port < 65536:
        raise Refused("the origin's port is not a port number")
    if literal(host) is None and (len(host) > 253 or not _NAME.fullmatch(host) or _ENDS_IN_A_NUMBER.fullmatch(host)):
        raise Refused("the origin's host is neither a DNS name nor a canonical address")
    if allow_loopback:
        return Origin(scheme, host, port)
    if scheme != "https" or port != _PORTS["https"]:
        raise Refused("the origin is not https on port 443")
    if literal(host) is not None or "." not in host or _has_suffix(host, _NEVER_PUBLIC):
        raise Refused("the origin's host is not a public DNS name")
    return Origin(scheme, host, port)


def is_local_name(host: str) -> bool:
    """True for `localhost` and what ends in it: always loopback, never asked of DNS (RFC 6761, section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def checked_path(path: str) -> str:
    """The path if it can't mean anything but a path on the same host. Raises Refused."""
    if not _PATH.fullmatch(path) or path.startswith("//"):
        raise Refused("the path must begin with one '/', with at most 256 letters, digits and ._~-:=&,+?%/ in all")
    bare = unquote(path.partition("?")[0], errors="replace")
    if any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in unquote(path, errors="replace")):
        raise Refused("the path has an encoded control character or backslash")
    if bare.startswith("//") or any(part in (".", "..") for part in bare.split("/")):
        raise Refused("the path has a '.', '..' or an encoded '/' at its start")
    return path


def owns(origin: Origin, audience: Origin) -> bool:
    """True if `origin` is the service `audience` itself or one of its traffic tags (`<tag>---<service host>`): only
    there may a token for that audience go (https://cloud.google.com/run/docs/authenticating/service-to-service)."""
    same_door = origin.scheme == audience.scheme and origin.port == audience.port
    tag, dashes, rest = origin.host.partition("---")
    return same_door and (origin.host == audience.host or bool(tag and dashes and rest == audience.host))


def _has_suffix(host: str, suffixes: tuple[str, ...]) -> bool:
    return any(host == s or host.endswith("." + s) for s in suffixes)

"""Ports for programs that are started here."""

from __future__ import annotations

import random
import socket

# Below the range that Linux gives to outgoing connections: while a server is down, none can take its port.
PORT_RANGE = range(18_000, 32_000)


class NoFreePort(Exception):
    """Every port of the range is in use."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses right now, all different. Raises NoFreePort."""
    found: list[int] = []
    for port in random.sample(PORT_RANGE, k=len(PORT_RANGE)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise NoFreePort(f"no {count} free ports between {PORT_RANGE.start} and {PORT_RANGE.stop} on 127.0.0.1")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses right now. Raises NoFreePort."""
    return free_ports(1)[0]

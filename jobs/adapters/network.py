"""Whether a host's name is known here, and whether something listens at its port."""

from __future__ import annotations

import socket
from datetime import timedelta


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of a host name; raise `OSError` or `UnicodeError` where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def reach(host: str, port: int, timeout: timedelta) -> None:
    """Connect and hang up; raise `OSError` where nothing answers."""
    socket.create_connection((host, port), timeout=timeout.total_seconds()).close()

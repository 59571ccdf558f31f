"""Listening sockets.

Every address ("", 0.0.0.0 or ::) is one socket for both families, as Go makes it: kube-proxy's
default 0.0.0.0:10256 answers over IPv6 too. Where the kernel has no IPv6, it is IPv4 alone.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack

EVERYWHERE = ("",)
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})
_BACKLOG = 128


def listen(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """A listening socket an address, all or none. Raises OSError."""
    places = list(dict.fromkeys(addresses))
    if _WILDCARDS.intersection(places):
        return [_everywhere(port)]
    with ExitStack() as stack:
        made = [stack.enter_context(_bound(each, port, _family(each))) for each in places]
        stack.pop_all()
    return made


def _everywhere(port: int) -> socket.socket:
    try:
        return _bound("::", port, socket.AF_INET6)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        return _bound("0.0.0.0", port, socket.AF_INET)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bound(address: str, port: int, family: socket.AddressFamily) -> socket.socket:
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        # Over connections of a listener before us that linger; it shares no port with a live one.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        made.bind((address, port))
        made.listen(_BACKLOG)
        stack.pop_all()
    return made

"""Addresses as the maps have them: sixteen bytes, an IPv4 address as ::ffff:a.b.c.d.

    "10.96.0.10"   00 … 00 ff ff 0a 60 00 0a
    "fd00::10"     fd 00 … 00 10
    ""             00 … 00                      no address: a refused call's, a chain's head

What stands between is network order; ::ffff:a.b.c.d comes back as a.b.c.d.
"""

from __future__ import annotations

import socket
import struct

SIZE = 16
_MAPPED = bytes(10) + b"\xff\xff"
_NONE = bytes(SIZE)
_WORDS = struct.Struct("=4I")
_WORD = struct.Struct("=I")
_MAPPED_WORDS = _WORDS.unpack(_MAPPED + bytes(4))[:3]


def pack(address: str) -> bytes:
    """Sixteen bytes in network order; raises ValueError for what is no address."""
    if not address:
        return _NONE
    try:
        if ":" in address:
            return socket.inet_pton(socket.AF_INET6, address)
        return _MAPPED + socket.inet_pton(socket.AF_INET, address)
    except OSError:
        raise ValueError(f"{address!r} is no IP address") from None


def words(address: str) -> tuple[int, int, int, int]:
    """The same as the words of struct address; raises ValueError."""
    if ":" in address or not address:
        return _WORDS.unpack(pack(address))
    try:
        return (*_MAPPED_WORDS, *_WORD.unpack(socket.inet_pton(socket.AF_INET, address)))
    except OSError:
        raise ValueError(f"{address!r} is no IP address") from None


def unpack(raw: bytes) -> str:
    """The address as text; of a mapped one the IPv4 address, of sixteen zeros nothing."""
    if raw == _NONE:
        return ""
    if raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)

"""What a setting may be: a value as a source gave it, to a checked one.

A source gives text (a flag, the environment) or what YAML made of it. Each reader raises
ValueError for what is not allowed; the setting's own row says in words what is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from podwire_core.family import canonical_address, canonical_network, is_loopback

#: sockaddr_un.sun_path has 108 bytes, the last of which is 0 (unix(7)); and while it is made a
#: socket has a dot before its name (cni.listener).
MAX_SOCKET_BYTES = 108 - 1 - 1

Reader = Callable[[object], Any]

#: Words for addresses at which NodePorts answer.
PRIMARY, ALL, LOCALHOST = "primary", "all", "localhost"
MAX_NODEPORT_ADDRESSES = 64

#: The kernel counts conntrack's timeouts in an int of milliseconds, where a tick is that short.
MAX_SECONDS = (2**31 - 1) // 1000

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_TERM = rf"([0-9]{{1,12}})(?:\.([0-9]{{1,12}}))?({'|'.join(_NANOSECONDS)})"


class Component(StrEnum):
    """What an agent may do; any of them, alone or together."""

    CNI = "cni"
    PROXY = "proxy"
    POLICY = "policy"


def text(value: object) -> str:
    """Printable text, which may be empty."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    return value


def matching(pattern: str) -> Reader:
    """Text of which a pattern matches all."""

    def read(value: object) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise ValueError
        return text(value)

    return read


def one_of(*allowed: str) -> Reader:
    """One of some words."""
    return matching("|".join(allowed))


def whole(low: int, high: int, *also: int) -> Reader:
    """A whole number of a range, or one of `also`."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch("-?[0-9]{1,10}", value):
            value = int(value)
        if type(value) is not int or (not low <= value <= high and value not in also):
            raise ValueError
        return value

    return read


def boolean(value: object) -> bool:
    """YAML's true and false, or the words."""
    words = {"true": True, "false": False}
    if isinstance(value, str):
        value = words.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError
    return value


def items(value: object) -> Sequence[str]:
    """A YAML list of text, or text with commas."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list):
        raise ValueError
    return [text(item) for item in value]


def components(value: object) -> tuple[Component, ...]:
    """At least one, in the order of the enumeration."""
    asked = {Component(item) for item in items(value)}
    if not asked:
        raise ValueError
    return tuple(each for each in Component if each in asked)


def networks(value: object) -> tuple[str, ...]:
    """CIDRs in their canonical spelling, each once."""
    return tuple(dict.fromkeys(canonical_network(item) for item in items(value)))


def nodeport_addresses(value: object) -> tuple[str, ...]:
    """CIDRs in their canonical spelling, and words; each once, and at least one."""
    words = (PRIMARY, ALL, LOCALHOST)
    found = [item if item in words else canonical_network(item) for item in items(value)]
    if not 0 < len(found) <= MAX_NODEPORT_ADDRESSES:
        raise ValueError
    return tuple(dict.fromkeys(found))


def seconds(value: object) -> int:
    """Whole seconds, or a duration as Go writes it ("24h0m0s"), whose rest is dropped."""
    if isinstance(value, str) and not value.isdigit():
        value = _go_nanoseconds(value) // 10**9
    return int(whole(0, MAX_SECONDS)(value))


def _go_nanoseconds(text: str) -> int:
    """A duration without a sign. Source: pkg.go.dev/time#ParseDuration."""
    if not re.fullmatch(f"({_TERM}){{1,8}}", text):
        raise ValueError
    total = 0
    for number, fraction, unit in re.findall(_TERM, text):
        size = _NANOSECONDS[unit]
        total += int(number) * size + int(fraction or 0) * size // 10 ** len(fraction)
    return total


def host_port(value: object) -> str:
    """ADDRESS:PORT with its address in its canonical spelling, or "".

    ":10256" is all addresses, as Go's listeners have it, and so is 0.0.0.0.
    """
    if not text(value):
        return ""
    address, port = address_and_port(text(value))
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def address_and_port(text: str) -> tuple[str, int]:
    """The two of ADDRESS:PORT: "[::1]:80" → ("::1", 80). Raises ValueError for anything else."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]*)):([0-9]{1,5})", text)
    if not found or not 1 <= int(found[3]) <= 65535:
        raise ValueError(f"{text!r} is no ADDRESS:PORT")
    if found[1] and ":" not in found[1]:
        raise ValueError(f"{text!r}: brackets are for IPv6")
    return canonical_address(found[1] or found[2] or "0.0.0.0"), int(found[3])


def path(value: object) -> str:
    """An absolute path, or ""."""
    name = text(value)
    if name and not Path(name).is_absolute():
        raise ValueError
    return name


def socket(value: object) -> str:
    """An absolute path that fits into a socket's address, or ""."""
    if len(path(value).encode()) > MAX_SOCKET_BYTES:
        raise ValueError
    return path(value)


def needed(value: object) -> str:
    """Text that is not empty."""
    if not text(value):
        raise ValueError
    return text(value)


def needed_path(value: object) -> str:
    """An absolute path that is not empty."""
    return path(needed(value))


def url(value: object) -> str:
    """An address and nothing else: no path, and above all no password, which would be printed.

    Plain http shows tokens to whoever is on the way, so it may not leave this machine.
    """
    address = text(value)
    parts = urlsplit(address)
    host = parts.hostname or ""
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if address and (not safe or not host or extra):
        raise ValueError
    _ = parts.port  # raises ValueError for one that is none
    return address.rstrip("/")

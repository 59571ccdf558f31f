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

from podwire_core.family import canonical_network, is_loopback

#: sockaddr_un.sun_path has 108 bytes, the last of which is 0 (unix(7)); and while it is made a
#: socket has a dot before its name (cni.listener).
MAX_SOCKET_BYTES = 108 - 1 - 1

Reader = Callable[[object], Any]


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
        if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value):
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

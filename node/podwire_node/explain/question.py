"""What a person asks: who dials whom, at which port. Pure.

shop/web                  a pod, or as a destination also a Service
web                       the same in namespace default
shop/web:80               the same at a port, by its number or its name
10.244.1.5                whoever owns this address
10.244.1.5:80, [fd00::5]:80
"""

from __future__ import annotations

import re
from typing import NamedTuple

from podwire_core.family import canonical_address
from podwire_core.objects import ObjectName, Protocol

MAX_WORDS = 600  # characters of one end: a namespace, a name and a port are 330
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_DOTTED = re.compile(r"[0-9.]+")  # was meant as an address
_PORT_NAME = re.compile(r"[a-z0-9-]{1,63}")
_BRACKETS = re.compile(r"\[(?P<address>[^\]]*)\](?::(?P<port>.*))?")


class QuestionError(ValueError):
    """A question that cannot be understood; the text says what to write."""


class Question(NamedTuple):
    """Ends: a pod's or Service's name, or a canonical address. port: None, number or name.

    protocol: None means those of the Service's ports, or of the ports that the pod declares.
    """

    source: ObjectName | str
    destination: ObjectName | str
    port: int | str | None
    protocol: Protocol | None


def parse(source: str, destination: str, protocol: str = "") -> Question:
    """The question in these words. Raises QuestionError."""
    end, port = _with_port(destination)
    return Question(_end(source), _end(end), port, _protocol(protocol))


def _end(words: str) -> ObjectName | str:
    namespace, slash, name = words.partition("/")
    if slash:
        if not (_is_name(namespace) and _is_name(name)):
            raise QuestionError(f"{_cut(words)!r} is no name: write NAMESPACE/NAME, like shop/web")
        return ObjectName(namespace, name)
    try:
        return canonical_address(words)
    except ValueError as error:
        if _is_name(words) and not _DOTTED.fullmatch(words):
            return ObjectName("default", words)
        advice = "write NAMESPACE/NAME, like shop/web, or an address, like 10.244.1.5"
        raise QuestionError(f"{_cut(words)!r}: {advice}") from error


def _with_port(words: str) -> tuple[str, int | str | None]:
    """An end, and the port behind it."""
    if found := _BRACKETS.fullmatch(words):
        return found["address"], None if found["port"] is None else _port(found["port"])
    end, colon, port = words.rpartition(":")
    if not colon or ":" in end:  # an IPv6 address without brackets has no port
        return words, None
    return end, _port(port)


def _port(words: str) -> int | str:
    if words.isascii() and words.isdigit():
        number = int(words) if len(words) < 6 else 0
        if not 1 <= number <= 65535:
            raise QuestionError(f"port {_cut(words)}: use a number from 1 to 65535")
        return number
    if not _PORT_NAME.fullmatch(words):
        raise QuestionError(f"port {_cut(words)!r}: use a number, or the name of a port")
    return words


def _protocol(words: str) -> Protocol | None:
    if not words:
        return None
    try:
        return Protocol(words.upper())
    except ValueError as error:
        raise QuestionError(f"protocol {_cut(words)!r}: use tcp, udp or sctp") from error


def _is_name(words: str) -> bool:
    return len(words) <= 253 and _NAME.fullmatch(words) is not None


def _cut(words: str) -> str:
    return words if len(words) <= 80 else f"{words[:80]}…"

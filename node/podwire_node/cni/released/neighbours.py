"""The neighbour entries of a network namespace: who has an address on a link, read and removed.

    permanent   set by a plan or a hand; goes with its link
    learnt      what the kernel found out itself; outlives its address' owner

Source: linux/neighbour.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from podwire_cni.family import IPAddress, family_of
from podwire_cni.rtnetlink import HEADER_BYTES, NLM_F_DUMP, Message, Socket, attributes, header
from podwire_core.netlink import attribute

_DELETE, _GET = 29, 30  # RTM_*NEIGH
_NDMSG = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_DESTINATION, _ADDRESS = 1, 2  # NDA_DST, NDA_LLADDR
_PERMANENT = 0x80  # NUD_PERMANENT
_BATCH = 100  # each refusal takes room in the buffer that is read afterwards


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry. link: an index.  mac: "" where it is not known."""

    address: IPAddress
    link: int
    mac: str


class Neighbours:
    """Those of the namespace that the socket was opened in. Raises Refused and OSError."""

    def __init__(self, kernel: Socket) -> None:
        self._kernel = kernel

    def permanent(self) -> list[Neighbour]:
        """Every permanent one."""
        return [
            _neighbour(link, found) for link, state, found in self._dump() if state & _PERMANENT
        ]

    def learnt(self, addresses: Container[bytes]) -> list[Neighbour]:
        """What the kernel has found out of these packed addresses."""
        return [
            _neighbour(link, found)
            for link, state, found in self._dump()
            if found[_DESTINATION] in addresses and not state & _PERMANENT
        ]

    def remove(self, entries: Sequence[Neighbour]) -> None:
        """Remove all that can be; raises for the first that cannot."""
        for start in range(0, len(entries), _BATCH):
            self._kernel.perform([_deletion(each) for each in entries[start : start + _BATCH]])

    def _dump(self) -> Iterator[tuple[int, int, dict[int, bytes]]]:
        """Link, state and attributes of each."""
        body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        question = Message("neigh show", header(_GET, NLM_F_DUMP, len(body)) + body)
        for answer in self._kernel.ask(question):
            _, link, state, _, _ = _NDMSG.unpack_from(answer, HEADER_BYTES)
            found = dict(attributes(answer, HEADER_BYTES + _NDMSG.size))
            if _DESTINATION in found:
                yield link, state, found


def _neighbour(link: int, found: dict[int, bytes]) -> Neighbour:
    address = ipaddress.ip_address(found[_DESTINATION])
    return Neighbour(address, link, found.get(_ADDRESS, b"").hex(":"))


def _deletion(each: Neighbour) -> Message:
    body = _NDMSG.pack(family_of(each.address).socket, each.link, 0, 0, 0)
    body += attribute(_DESTINATION, each.address.packed)
    return Message(f"neigh del {each.address}", header(_DELETE, 0, len(body)) + body)

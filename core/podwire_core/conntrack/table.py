"""The connections of a network namespace, which the kernel keeps.

The kernel compares protocols for us, and no more: addresses of IPv6 it compares the wrong way
round (Linux 5.8 to 6.18: a filter for one gives all the others).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice

from podwire_core.conntrack.entry import (
    MARK,
    NUMBER,
    ORIGINAL,
    TUPLE_PROTOCOL,
    Bits,
    Entry,
    head,
    packed,
    read,
    tuple_of,
)
from podwire_core.errors import ConntrackError
from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.netlink import (
    MAX_TOLD,
    NETFILTER,
    Conversation,
    Message,
    attribute,
    nested,
)

UDP = 17  # IPPROTO_UDP

_NEW, _GET, _DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_MARK_MASK = 21  # CTA_MARK_MASK
_FILTER, _ORIGINAL_FLAGS, _BY_PROTOCOL = 25, 1, 8  # CTA_FILTER, CTA_FILTER_ORIG_FLAGS, …PROTO_NUM
_ADVICE = {
    errno.EPERM: "needs CAP_NET_ADMIN",
    errno.EINVAL: "load the module nf_conntrack_netlink",  # a subsystem that is not there
    errno.EPROTONOSUPPORT: "load the module nfnetlink",
}


class Conntrack:
    """The connections of the network namespace it was made in; for one thread.

    All of it raises ConntrackError. What was deleted before an error stays deleted.
    """

    def __init__(self) -> None:
        with _explained("list connections"):
            # Two, because entries are deleted while more are read.
            self._list, self._change = Conversation(NETFILTER), Conversation(NETFILTER)

    def close(self) -> None:
        """Give back the sockets."""
        self._list.close()
        self._change.close()

    def entries(
        self, family: Family, protocol: int = 0, marked: Bits | None = None
    ) -> Generator[Entry, None, None]:
        """Every connection of a family, of one IPPROTO_* or all, while the kernel lists them.

        marked: those alone whose marks have these bits (the kernel compares since Linux 3.4).
        One that comes or goes meanwhile may be there, or not, or twice. Whoever stops before
        the end closes it.
        """
        only = _only(protocol) if protocol else b""
        question = Message(_GET, head(family) + only + (_bits(marked) if marked else b""))
        with _explained("list connections"), closing(self._list.dump(question)) as answers:
            for body in answers:
                entry = read(family, body)
                if protocol in {0, entry.protocol}:  # the kernel filters since Linux 5.8
                    yield entry

    def find(
        self, protocol: int, source: str, source_port: int, destination: str, destination_port: int
    ) -> Entry | None:
        """The connection that a packet is of, None where it is of none.

        The packet: as its sender or its receiver has it, of either direction, of TCP, UDP or SCTP.
        Addresses are canonical. Of zones the kernel looks in the one of who asked for none.
        """
        family = family_of(source)
        name = tuple_of(protocol, source, source_port, destination, destination_port)
        with _explained("find a connection"):
            try:
                body = self._list.ask(Message(_GET, head(family) + name))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                return None
        return read(family, body)

    def delete(self, entries: Iterable[Entry]) -> int:
        """Forget entries; answers how many. One that is gone already is no error."""
        return self._tell("forget a connection", _DELETE, ((each, b"") for each in entries))

    def mark(self, entries: Iterable[Entry], value: int, mask: int) -> int:
        """Give the bits `mask` of entries' marks this value; answers how many entries there were.

        Other bits are someone else's, and stay. One that is gone is no error; a new one of the
        same tuple is taken for it.
        """
        bits = _bits(Bits(value & mask, mask))
        return self._tell("mark a connection", _NEW, ((each, bits) for each in entries))

    def forget(self, addresses: Iterable[str]) -> int:
        """Forget what some pods talked about, whether they dialled, were dialled, or served.

        addresses: canonical; everything is read once, however many they are. Answers how many
        entries there were.
        """
        known = list(addresses)
        deleted = 0
        for family in FAMILIES:
            these = frozenset(packed(each, family) for each in known if family_of(each) is family)
            if these:
                with closing(self.entries(family)) as entries:
                    deleted += self.delete(each for each in entries if _mentions(each, these))
        return deleted

    def _tell(self, what: str, kind: int, changes: Iterable[tuple[Entry, bytes]]) -> int:
        """Change entries, each by what follows its name; answers how many were there."""
        named = ((each.family, each.name, rest) for each, rest in changes)
        waiting = (
            Message(kind, head(family) + name + rest) for family, name, rest in named if name
        )
        done = 0
        while batch := list(islice(waiting, MAX_TOLD)):
            with _explained(what):
                refused = self._change.tell(batch)
            done += len(batch) - len(refused)
            other = next((code for code in refused if code != errno.ENOENT), 0)
            if other:
                raise _error(what, other)
        return done


def _only(protocol: int) -> bytes:
    values = nested(TUPLE_PROTOCOL, attribute(NUMBER, bytes([protocol])))
    flags = attribute(_ORIGINAL_FLAGS, struct.pack("=I", _BY_PROTOCOL))
    return nested(ORIGINAL, values) + nested(_FILTER, flags)


def _bits(bits: Bits) -> bytes:
    value, mask = (struct.pack("!I", each) for each in bits)
    return attribute(MARK, value) + attribute(_MARK_MASK, mask)


def _mentions(entry: Entry, addresses: frozenset[bytes]) -> bool:
    return not addresses.isdisjoint((entry.source, entry.destination, entry.reply_source))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The kernel's refusals, with what to do about them."""
    try:
        yield
    except TimeoutError as error:
        raise ConntrackError(f"the kernel did not {what} in time") from error
    except OSError as error:
        raise _error(what, error.errno or 0) from error


def _error(what: str, code: int) -> ConntrackError:
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    return ConntrackError(f"the kernel does not {what}: {os.strerror(code)}{advice}")

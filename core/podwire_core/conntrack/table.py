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
    NUMBER,
    ORIGINAL,
    TUPLE_PROTOCOL,
    Entry,
    head,
    packed,
    read,
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

_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
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

    def entries(self, family: Family, protocol: int = 0) -> Generator[Entry, None, None]:
        """Every connection of a family, of one IPPROTO_* or all, while the kernel lists them.

        One that comes or goes meanwhile may be there, or not, or twice. Whoever stops before
        the end closes it.
        """
        question = Message(_GET, head(family) + (_only(protocol) if protocol else b""))
        with _explained("list connections"), closing(self._list.dump(question)) as answers:
            for body in answers:
                entry = read(family, body)
                if protocol in {0, entry.protocol}:  # the kernel filters since Linux 5.8
                    yield entry

    def delete(self, entries: Iterable[Entry]) -> int:
        """Forget entries; answers how many. One that is gone already is no error."""
        names = ((each.family, each.name) for each in entries)
        waiting = (_deletion(family, name) for family, name in names if name)
        deleted = 0
        while batch := list(islice(waiting, MAX_TOLD)):
            with _explained("forget a connection"):
                refused = self._change.tell(batch)
            deleted += len(batch) - len(refused)
            other = next((code for code in refused if code != errno.ENOENT), 0)
            if other:
                raise _error("forget a connection", other)
        return deleted

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


def _only(protocol: int) -> bytes:
    values = nested(TUPLE_PROTOCOL, attribute(NUMBER, bytes([protocol])))
    flags = attribute(_ORIGINAL_FLAGS, struct.pack("=I", _BY_PROTOCOL))
    return nested(ORIGINAL, values) + nested(_FILTER, flags)


def _mentions(entry: Entry, addresses: frozenset[bytes]) -> bool:
    return not addresses.isdisjoint((entry.source, entry.destination, entry.reply_source))


def _deletion(family: Family, name: bytes) -> Message:
    return Message(_DELETE, head(family) + name)


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

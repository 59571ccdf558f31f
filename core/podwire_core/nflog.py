"""Packets that rules log to a group (statements.Log), as the kernel tells of them (nfnetlink_log).

    rule ─► log prefix … group N ─► the kernel's queue of N ─► one socket ─► read() ─► Logged, …
                                     32 packets or 10 ms           │
                                                                   └─ full: lost counts them

* A group has one listener in a network namespace; who comes second is refused (EPERM, EBUSY).
* Each packet has a number of its own in the group. What a full socket loses is told by the gap.
* What is read was made by whoever sends packets: nothing of it is looked into here.

Source: linux/netfilter/nfnetlink_log.h, net/netfilter/nfnetlink_log.c.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

from podwire_core.errors import NfLogError
from podwire_core.family import Family
from podwire_core.netlink import (
    ACK,
    ANSWER_SECONDS,
    NETFILTER,
    REQUEST,
    Message,
    attribute,
    attributes,
    packed,
    split,
)

#: Bytes that wait in the socket: a few thousand packets.
BUFFER_BYTES = 4 * 1024 * 1024
#: Datagrams that one read() takes, of up to QUEUED packets each.
DATAGRAMS = 64
QUEUED = 32  # packets that the kernel puts into one datagram, if they come within FLUSH
FLUSH = 1  # in hundredths of a second

_PACKET, _CONFIG = 0x400, 0x401  # NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_*
_COMMAND, _MODE, _TIMEOUT, _THRESHOLD, _FLAGS = 1, 2, 4, 5, 6  # NFULA_CFG_*
_BIND = b"\1"  # NFULNL_CFG_CMD_BIND
_COPY_PACKET = 2  # NFULNL_COPY_PACKET
_SEQUENCE = 1  # NFULNL_CFG_F_SEQ
_TIMESTAMP, _IIF, _OIF, _PAYLOAD, _PREFIX, _NUMBER = 3, 4, 5, 9, 10, 12  # NFULA_*
_FAMILIES = {int(socket.AF_INET): Family.IPV4, int(socket.AF_INET6): Family.IPV6}
_HEAD = 4  # bytes of struct nfgenmsg, after which the attributes begin
_ERROR = 2  # NLMSG_ERROR
_CODE = struct.Struct("=i")
_TIME = struct.Struct("!QQ")
_SO_RCVBUFFORCE = 33  # CAP_NET_ADMIN may go past net.core.rmem_max
_RECEIVE_BYTES = 1 << 16
_ADVICE = {
    errno.EPERM: "another program listens to it, or CAP_NET_ADMIN is missing",
    errno.EBUSY: "another program listens to it",
    errno.EINVAL: "load the module nfnetlink_log",  # a subsystem that is not there
    errno.EPROTONOSUPPORT: "load the module nfnetlink",
}


class Logged(NamedTuple):
    """A packet that a rule logged.

    payload: from its network header on, cut to the rule's snaplen; it may be any bytes. iif, oif:
    numbers of interfaces, 0 for none. seconds: since 1970, when it came, or when it was read.
    """

    prefix: str
    family: Family
    payload: bytes
    iif: int
    oif: int
    seconds: float


class NfLog:
    """Hears one group of the network namespace it was made in. Raises NfLogError.

    lost: packets that were logged and not heard; it only grows.
    """

    def __init__(self, group: int, *, snaplen: int = 128, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.lost = 0
        self._next = 0
        try:
            with ExitStack() as stack:
                made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
                self._socket = stack.enter_context(made)
                with suppress(PermissionError):  # in a user namespace the default has to do
                    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
                made.bind((0, 0))
                self._listen(group, snaplen)
                stack.pop_all()
        except OSError as error:
            raise _refused(group, error) from error

    def fileno(self) -> int:
        """Readable when something was logged."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more; the kernel then forgets what it would have told."""
        self._socket.close()

    def read(self) -> list[Logged]:
        """What was logged and not read yet, so much of it that no caller is held up for long."""
        found: list[Logged] = []
        for _ in range(DATAGRAMS):
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise NfLogError(f"the kernel tells no logged packets: {error}") from error
                continue  # the numbers tell how many
            found += self._packets(data)
        return found

    def _listen(self, group: int, snaplen: int) -> None:
        head = struct.pack("!BBH", socket.AF_UNSPEC, 0, group)
        body = head + b"".join(
            (
                attribute(_COMMAND, _BIND),
                attribute(_MODE, struct.pack("!IBx", snaplen, _COPY_PACKET)),
                attribute(_TIMEOUT, struct.pack("!I", FLUSH)),
                attribute(_THRESHOLD, struct.pack("!I", QUEUED)),
                attribute(_FLAGS, struct.pack("!H", _SEQUENCE)),
            )
        )
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.send(packed(Message(_CONFIG, body), REQUEST | ACK, 1))
        self._answer()
        self._socket.settimeout(0)

    def _answer(self) -> None:
        """Packets that were logged before the answer are passed over."""
        while True:
            for kind, _, _, body in split(self._socket.recv(_RECEIVE_BYTES)):
                if kind == _ERROR:
                    code = -_CODE.unpack_from(body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return

    def _packets(self, data: bytes) -> Iterator[Logged]:
        for kind, _, _, body in split(data):
            family = _FAMILIES.get(body[0]) if kind == _PACKET and body else None
            if family is None:
                continue
            known = attributes(body, _HEAD)
            self._count(known.get(_NUMBER, b""))
            yield _logged(family, known)

    def _count(self, value: bytes) -> None:
        """Numbers follow each other from 0 on; a gap is what was lost."""
        number = int.from_bytes(value, "big")
        self.lost += (number - self._next) % (1 << 32)
        self._next = (number + 1) % (1 << 32)


def _logged(family: Family, known: dict[int, bytes]) -> Logged:
    stamp = known.get(_TIMESTAMP, b"")
    when = time.time()
    if len(stamp) == _TIME.size:
        whole, micro = _TIME.unpack(stamp)
        when = whole + micro / 1e6
    prefix = known.get(_PREFIX, b"").split(b"\0", 1)[0].decode(errors="replace")
    iif, oif = (int.from_bytes(known.get(kind, b""), "big") for kind in (_IIF, _OIF))
    return Logged(prefix, family, known.get(_PAYLOAD, b""), iif, oif, when)


def _refused(group: int, error: OSError) -> NfLogError:
    advice = f": {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
    reason = error.strerror or "it gives no answer"
    return NfLogError(f"the kernel does not let us hear group {group}: {reason}{advice}")

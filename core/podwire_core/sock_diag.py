"""Other programs' sockets: listing them, and ending them (NETLINK_SOCK_DIAG, linux/inet_diag.h).

sockets() ──► Socket, Socket, … ──► destroy()
one dump      read as they come     by ports, addresses and cookie, a hundred in a datagram

A program whose socket is destroyed is told at once, also where it waits: ECONNABORTED by recv(),
and by send() of UDP EDESTADDRREQ. Of TCP the other end hears a reset. The cookie is the one that
BPF programs and SO_COOKIE tell: it names one socket of this boot, in whatever network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from podwire_core.errors import SockDiagError
from podwire_core.family import Family, family_of
from podwire_core.netlink import MAX_TOLD, SOCK_DIAG, Conversation, Message

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP

_BY_FAMILY, _DESTROY = 20, 21  # SOCK_DIAG_BY_FAMILY, SOCK_DESTROY
_ASKED = struct.Struct("=BBxxI")  # struct inet_diag_req_v2 up to its id: family, protocol, states
_TOLD = struct.Struct("=BBxx")  # struct inet_diag_msg up to its id: family, state
_ID = struct.Struct("!HH16s16s4x8s")  # inet_diag_sockid: ports, addresses, interface, cookie
_COOKIE = struct.Struct("=II")  # the low half first
_NO_ID = bytes(_ID.size)
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_ADVICE = {
    errno.EPERM: "needs CAP_NET_ADMIN",
    errno.EOPNOTSUPP: "it was built without CONFIG_INET_DIAG_DESTROY",
    errno.ENOENT: "load the modules inet_diag, tcp_diag and udp_diag",
    errno.EPROTONOSUPPORT: "it was built without CONFIG_INET_DIAG",
}


class State(IntEnum):
    """Of a socket, as the kernel counts them (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    CLOSE_WAIT = 8
    LAST_ACK = 9
    CLOSING = 11


#: States of a socket that has a peer: of UDP, one that called connect().
CONNECTED = {UDP: (State.ESTABLISHED,), TCP: tuple(State)}


class Socket(NamedTuple):
    """A socket and its peer. family: the socket's own.

    peer: 16 bytes in network order, of IPv4 as ::ffff:a.b.c.d, whatever the socket's family.
    id: struct inet_diag_sockid, by which the kernel finds it.
    """

    family: Family
    protocol: int
    peer: bytes
    peer_port: int
    cookie: int
    id: bytes


class SockDiag:
    """The sockets of the network namespace it was made in; for one thread.

    All of it raises SockDiagError. What was destroyed before an error stays destroyed.
    """

    def __init__(self) -> None:
        with _explained("list sockets"):
            self._conversation = Conversation(SOCK_DIAG)

    def close(self) -> None:
        """Give back the socket."""
        self._conversation.close()

    def sockets(
        self, family: Family, protocol: int, states: Collection[State]
    ) -> Generator[Socket, None, None]:
        """Those in one of the states, while the kernel lists them.

        IPv6: also those of dual-stack programs that talk IPv4. One that comes or goes meanwhile
        may be there, or not. Whoever stops before the end closes it.
        """
        wanted = sum(1 << state for state in states)
        question = Message(_BY_FAMILY, _ASKED.pack(_AF[family], protocol, wanted) + _NO_ID)
        with _explained("list sockets"), closing(self._conversation.dump(question)) as answers:
            for body in answers:
                yield _read(family, protocol, body)

    def destroy(self, sockets: Iterable[Socket]) -> int:
        """End them; answers how many. One that is gone, or is another's by now, is no error."""
        waiting, done = iter(sockets), 0
        while batch := [_farewell(each) for each in islice(waiting, MAX_TOLD)]:
            with _explained("destroy sockets"):
                refused = self._conversation.tell(batch)
            done += len(batch) - len(refused)
            other = next((code for code in refused if code != errno.ENOENT), 0)
            if other:
                raise _error("destroy sockets", other)
        return done


def mapped(address: str) -> bytes:
    """A canonical address as Socket.peer has it."""
    if family_of(address) is Family.IPV6:
        return socket.inet_pton(socket.AF_INET6, address)
    return _MAPPED + socket.inet_pton(socket.AF_INET, address)


def _read(family: Family, protocol: int, body: bytes) -> Socket:
    """The socket that a message of a dump tells: struct inet_diag_msg."""
    raw = body[_TOLD.size : _TOLD.size + _ID.size]
    _, port, _, peer, cookie = _ID.unpack(raw)
    if family is Family.IPV4:
        peer = _MAPPED + peer[:4]
    low, high = _COOKIE.unpack(cookie)
    return Socket(family, protocol, peer, port, high << 32 | low, raw)


def _farewell(each: Socket) -> Message:
    return Message(_DESTROY, _ASKED.pack(_AF[each.family], each.protocol, 0) + each.id)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The kernel's refusals, with what to do about them."""
    try:
        yield
    except TimeoutError as error:
        raise SockDiagError(f"the kernel did not {what} in time") from error
    except OSError as error:
        raise _error(what, error.errno or 0) from error


def _error(what: str, code: int) -> SockDiagError:
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    return SockDiagError(f"the kernel does not {what}: {os.strerror(code)}{advice}")

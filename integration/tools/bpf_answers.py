"""The endpoints of a stage: who is asked answers with its address, in whatever way it is asked.

TCP   who?\n          10.9.0.1              UDP   who?\n            10.9.0.1
      GET / HTTP…     the same, in HTTP           a DNS question    A 192.0.2.1
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dnslib import QTYPE, RR, A, DNSRecord
from scratch import Netns


@contextmanager
def answering(where: Netns, addresses: Sequence[str], port: int) -> Iterator[None]:
    """Each address answers at a port of TCP and UDP."""
    with ExitStack() as undo:
        ready = undo.enter_context(selectors.DefaultSelector())
        with where.inside():
            for address in addresses:
                stream = socket.create_server((address, port), family=_family(address), backlog=128)
                datagrams = socket.socket(_family(address), socket.SOCK_DGRAM)
                datagrams.bind((address, port))
                for made in (stream, datagrams):
                    ready.register(undo.enter_context(made), selectors.EVENT_READ, address)
        end, ended = socket.socketpair()
        ready.register(undo.enter_context(ended), selectors.EVENT_READ, "")
        thread = threading.Thread(target=_answer, args=(ready,))
        thread.start()
        undo.callback(thread.join)
        undo.enter_context(end)
        yield


def _answer(ready: selectors.BaseSelector) -> None:
    """Until the other end of the pair is closed."""
    open_ones: set[socket.socket] = set()
    while True:
        for key, _ in ready.select():
            made = key.fileobj
            assert isinstance(made, socket.socket)
            if not key.data:
                for each in open_ones:
                    each.close()
                return
            if made.type == socket.SOCK_DGRAM:
                asked, client = made.recvfrom(512)
                made.sendto(_datagram(asked, key.data), client)
            elif made in open_ones:
                _converse(made, key.data, ready, open_ones)
            else:
                accepted = made.accept()[0]
                open_ones.add(accepted)
                ready.register(accepted, selectors.EVENT_READ, key.data)


def _converse(
    made: socket.socket, address: str, ready: selectors.BaseSelector, open_ones: set[socket.socket]
) -> None:
    asked = b""
    try:
        asked = made.recv(4096)
        if asked.startswith(b"GET "):
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(address)}\r\nConnection: close\r\n\r\n"
            made.sendall(f"{head}{address}".encode())
        elif asked:
            made.sendall(address.encode())
    except OSError:
        asked = b""
    if not asked or asked.startswith(b"GET "):
        ready.unregister(made)
        open_ones.remove(made)
        made.close()


def _datagram(asked: bytes, address: str) -> bytes:
    """What is no word of ours is a question to a DNS server."""
    if asked.startswith(b"who?"):
        return address.encode()
    answer = DNSRecord.parse(asked).reply()
    last = address.replace(":", ".").rpartition(".")[2]
    if answer.q.qtype == QTYPE.A:
        answer.add_answer(RR(answer.q.qname, QTYPE.A, rdata=A(f"192.0.2.{last}"), ttl=1))
    return bytes(answer.pack())


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET

"""A flood of packets at addresses that may have an owner by and by, and witnesses of what arrives.

```
 flood (a process)      SYNs and datagrams, of IPv4 and IPv6, from changing ports to port 80
        │  SENT a second, all the time
        ▼
 witness (a socket)     every packet that comes into a namespace, by whatever link, from the
                        moment on that the witness was made: also by links that come later
```
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Self

from scratch import Netns, until

SENT = 4000  # packets a second
_LINE = 100  # packets for each line that a flood writes
_ETH_P_ALL = 3
_OUTGOING = 4  # linux/if_packet.h, PACKET_OUTGOING
_SO_RCVBUFFORCE = 33  # root may go past net.core.rmem_max
_PROGRAM = """
import json, socket, struct, sys, time
pairs, rate, line = json.loads(sys.argv[1])
def checksum(source, destination, protocol, data, family):
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    text = ends + struct.pack('!II', len(data), protocol) + data + bytes(len(data) % 2)
    total = sum(struct.unpack(f'!{len(text) // 2}H', text))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return 0xffff - total
def syn(port, check):
    return struct.pack('!HHIIBBHHH', port, 80, port, 0, 0x50, 2, 65535, check, 0)
def datagram(port, check):
    return struct.pack('!HHHH', port, 80, 12, check) + b'!!!!'
rows = []
for source, destination in pairs:
    family = socket.AF_INET6 if ':' in destination else socket.AF_INET
    for protocol, made in ((6, syn), (17, datagram)):
        sender = socket.socket(family, socket.SOCK_RAW, protocol)
        data = []
        for port in range(20000, 20500):
            check = checksum(source, destination, protocol, made(port, 0), family)
            data.append(made(port, check or 0xffff))
        rows.append((sender, (destination, 0), data))
step = 40
sent = number = 0
due = time.monotonic()
while True:
    for sender, to, data in rows:
        for _ in range(step // len(rows)):
            number += 1
            try:
                sender.sendto(data[number // len(rows) % len(data)], to)
            except OSError:  # no link, no route, no address: not yet
                pass
    before, sent = sent, sent + step
    if sent // line != before // line:
        print(sent, flush=True)
    due = max(due + step / rate, time.monotonic() - 0.05)
    time.sleep(max(0, due - time.monotonic()))
"""


class Flood:
    """From a namespace, as long as the block lasts; pairs: source and destination."""

    def __init__(self, netns: Netns, pairs: Iterable[tuple[str, str]]) -> None:
        arguments = json.dumps([list(pairs), SENT, _LINE])
        command = ("/usr/bin/python3", "-I", "-S", "-c", _PROGRAM, arguments)
        self._process = netns.popen(*command)
        self._sent = 0
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        self.wait_for(_LINE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join()
        self._process.communicate()

    def wait_for(self, packets: int = 4 * _LINE) -> None:
        """Wait until so many packets more were sent."""
        goal = self._sent + packets
        until("the flood goes on", lambda: self._sent >= goal)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._sent = int(line)


class Witness:
    """Counts the packets that come into a namespace, by their source. Close it."""

    def __init__(self, netns: Netns) -> None:
        with netns.inside():
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def seen(self, *sources: str) -> int:
        """How many came from these until now; nothing else is counted, nor what was sent."""
        with suppress(BlockingIOError):
            while True:
                packet, (_, protocol, kind, *_rest) = self._socket.recvfrom(64)
                if kind != _OUTGOING and (source := _source(packet, protocol)):
                    self._seen[source] += 1
        return sum(self._seen[each] for each in sources)


def _source(packet: bytes, protocol: int) -> str:
    """Of TCP and UDP; "" for all else, such as neighbour discovery."""
    if protocol == 0x0800 and packet[9] in {6, 17}:
        return str(ip_address(packet[12:16]))
    if protocol == 0x86DD and packet[6] in {6, 17}:
        return str(ip_address(packet[8:24]))
    return ""

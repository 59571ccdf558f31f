"""A canary: calls that the programs see and refuse, and that nobody else hears.

Each family's socket connects, and sends, to 192.0.0.8 (RFC 7600) and 100::8 (RFC 6666), port 9. The
calls are UDP's: where no program refuses a connect() it sends nothing, and sendto() goes no further
than the routing table (MSG_DONTROUTE).

As a process, with a cgroup's folder for its argument, it joins that before it makes sockets, and
prints their cookies. It starts often, so it imports little.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

PORT = 9  # discard (RFC 863)
ADDRESSES = {
    "IPv4": (socket.AF_INET, "192.0.0.8"),
    "IPv6": (socket.AF_INET6, "100::8"),
}
_SO_COOKIE = 57  # asm-generic/socket.h


def call() -> dict[str, int]:
    """Call from this process; the sockets' cookies, of the families that the machine has."""
    cookies = {}
    for name, (family, address) in ADDRESSES.items():
        try:
            made = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # a kernel without IPv6
        with made:
            cookies[name] = _cookie(made)
            _try(made, address)
    return cookies


def _try(made: socket.socket, address: str) -> None:
    with suppress(OSError):  # refused, as it has to be; or there is no route
        made.connect((address, PORT))
    with suppress(OSError):
        made.sendto(b"", socket.MSG_DONTROUTE, (address, PORT))


def _cookie(made: socket.socket) -> int:
    return int.from_bytes(made.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), sys.byteorder)


if __name__ == "__main__":
    (Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
    print(json.dumps(call()))

"""Answers every connection to a port with the address that it reached, and keeps it open.

    nsenter --net=… python -I -S reached_server.py PORT

It says `ready` when it listens. Both families; a connection ends when its client ends it. Standard
library only.
"""

from __future__ import annotations

import resource
import select
import socket
import sys

_BACKLOG = 1 << 16  # bounded by net.core.somaxconn


def main() -> None:
    """See the module."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server(
        ("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
    )
    listener.setblocking(False)
    poll, connections = select.epoll(), dict[int, socket.socket]()
    poll.register(listener, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != listener.fileno():
                connections.pop(descriptor).close()
                continue
            accepted = _accepted(listener)
            if accepted is not None:
                connections[accepted.fileno()] = accepted
                poll.register(accepted, select.EPOLLIN | select.EPOLLHUP)


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        accepted, _ = listener.accept()
        accepted.send(f"{accepted.getsockname()[0].removeprefix('::ffff:')}\n".encode())
    except OSError:
        return None
    return accepted


if __name__ == "__main__":
    main()

"""Opens connections, many at once, in a cgroup; tells each one's end and when it was dialled.

    nsenter --net=… python -I -S connect_flood.py CGROUP AT_ONCE TOTAL ADDRESS,PORT [ADDRESS,PORT…]

AT_ONCE of them are open at any time: the oldest is closed for a new one. TOTAL 0: until its input
ends. A server answers with the address that it was reached at. Output is a line a connection, in
the order of their answers:

    TARGET BEGAN ENDED ADDRESS        seconds of CLOCK_MONOTONIC before connect(), and after it
    TARGET BEGAN ENDED !ECONNREFUSED  what became of it else

Standard library only.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

PATIENCE = 30.0


class Flood:
    """See the module."""

    def __init__(self, at_once: int, total: int, targets: list[tuple[str, int]]) -> None:
        self.at_once, self.total, self.targets = at_once, total, targets
        self.poll = select.epoll()
        self.under_way: dict[int, tuple[socket.socket, int, float, float]] = {}
        self.open: deque[socket.socket] = deque()
        self.begun = 0
        self.told_to_end = False
        self.lines: list[str] = []

    def run(self) -> None:
        """Until all were opened, or its input ends."""
        self.poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        while self.wants_more() or self.under_way:
            while self.wants_more() and self.has_room():
                self.begin()
            for descriptor, _ in self.poll.poll(1.0):
                if descriptor == sys.stdin.fileno():
                    self.poll.unregister(descriptor)
                    self.told_to_end = True
                elif descriptor in self.under_way:
                    self.end(descriptor)
            self.expire()
            self.tell()

    def wants_more(self) -> bool:
        """Whether there are connections to open still."""
        return not self.told_to_end if not self.total else self.begun < self.total

    def has_room(self) -> bool:
        """Whether another may be opened; the oldest makes room."""
        if len(self.under_way) + len(self.open) < self.at_once:
            return True
        if self.open:
            self.open.popleft().close()
            return True
        return False

    def begin(self) -> None:
        """One more connect()."""
        target = self.begun % len(self.targets)
        self.begun += 1
        address, port = self.targets[target]
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setblocking(False)
        began = time.monotonic()
        code = made.connect_ex((address, port))
        ended = time.monotonic()
        if code not in {0, errno.EINPROGRESS}:
            self.note(target, began, ended, f"!{errno.errorcode.get(code, code)}")
            made.close()
            return
        self.under_way[made.fileno()] = (made, target, began, ended)
        self.poll.register(made.fileno(), select.EPOLLIN)

    def end(self, descriptor: int) -> None:
        """A server's answer, or an error."""
        made, target, began, ended = self.under_way.pop(descriptor)
        self.poll.unregister(descriptor)
        try:
            end = made.recv(100).decode().strip() or "!closed"
        except OSError as error:
            end = f"!{errno.errorcode.get(error.errno or 0, error)}"
        self.note(target, began, ended, end)
        self.open.append(made)

    def expire(self) -> None:
        """Who hears nothing for too long."""
        limit = time.monotonic() - PATIENCE
        for descriptor, (made, target, began, ended) in list(self.under_way.items()):
            if began < limit:
                del self.under_way[descriptor]
                self.poll.unregister(descriptor)
                self.note(target, began, ended, "!silent")
                made.close()

    def note(self, target: int, began: float, ended: float, end: str) -> None:
        self.lines.append(f"{target} {began:.6f} {ended:.6f} {end}\n")

    def tell(self) -> None:
        """To whoever started us."""
        sys.stdout.write("".join(self.lines))
        sys.stdout.flush()
        self.lines.clear()


def main() -> None:
    """See the module."""
    cgroup, at_once, total, *targets = sys.argv[1:]
    Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ends = [each.rpartition(",") for each in targets]
    Flood(int(at_once), int(total), [(address, int(port)) for address, _, port in ends]).run()


if __name__ == "__main__":
    main()

"""Connections on which both ends talk all the time, and when each end heard the other last.

One thread talks for all of them: a socket belongs to the namespace in which it was made. Silence is
counted in words that were said: where the thread gets no processor, nobody is taken for silent.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from scratch import Netns, until

PACE = 0.02  # seconds between two words
#: Words said in vain. TCP sends what was lost again after a pause that it doubles; this is long
#: beside the first ones.
QUIET = 25


@dataclass
class Lasting:
    """A connection; ends: the client's socket, then the server's."""

    ends: tuple[socket.socket, socket.socket]
    heard: list[float] = field(default_factory=lambda: [0.0, 0.0])
    silent: list[int] = field(default_factory=lambda: [QUIET + 1] * 2)

    def talk(self) -> None:
        """Say a word at both ends, and hear what came."""
        for number, end in enumerate(self.ends):
            with suppress(OSError):  # full, while nobody hears
                end.send(b"word")
            self.silent[number] += 1
            with suppress(OSError):  # nothing came
                if end.recv(65536):
                    self.heard[number], self.silent[number] = time.monotonic(), 0

    @property
    def last(self) -> float:
        """When someone heard something last."""
        return max(self.heard)

    @property
    def goes_on(self) -> bool:
        """Whether both ends heard the other a moment ago."""
        return max(self.silent) <= QUIET

    def still_goes_on(self) -> bool:
        """Whether both ends hear the other from now on."""
        now = time.monotonic()
        until("both ends hear each other", lambda: min(self.heard) > now)
        return True

    @property
    def is_cut(self) -> bool:
        """Whether nobody heard anything for a while."""
        return min(self.silent) > QUIET


@dataclass
class Talk:
    """All of them, and the thread that talks."""

    flows: list[Lasting] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(PACE):
            for each in tuple(self.flows):
                each.talk()

    def add(self, ends: tuple[socket.socket, socket.socket]) -> Lasting:
        """Let them talk; waits until both were heard."""
        made = Lasting(ends)
        for end in ends:
            end.setblocking(False)
        self.flows.append(made)
        until("both ends hear each other", lambda: made.goes_on)
        return made


@contextmanager
def talking() -> Iterator[Talk]:
    """Talk until the block ends; then every socket is closed."""
    talk = Talk()
    thread = threading.Thread(target=talk.run)
    thread.start()
    try:
        yield talk
    finally:
        talk.stop.set()
        thread.join()
        for flow in talk.flows:
            for end in flow.ends:
                end.close()


def connected(
    client: tuple[Netns, str], dialled: tuple[str, int], server: tuple[Netns, str, int], kind: int
) -> tuple[socket.socket, socket.socket]:
    """A connection from the client to what it dials, behind which is the server."""
    family = socket.AF_INET6 if ":" in client[1] else socket.AF_INET
    with ExitStack() as undo:
        with server[0].inside():
            listener = undo.enter_context(socket.socket(family, kind))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(30)
        listener.bind(server[1:])
        with client[0].inside():
            here = undo.enter_context(socket.socket(family, kind))
        here.settimeout(30)
        here.bind((client[1], 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
            here.connect(dialled)
            there = undo.enter_context(listener.accept()[0])
            undo.pop_all()
            listener.close()
            return here, there
        here.connect(dialled)
        here.send(b"first")
        _, sender = listener.recvfrom(64)
        listener.connect(sender)
        undo.pop_all()
        return here, listener

"""One kind of work, done by all contenders in turns (dial.c), and what each took for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cluster
from scratch import Netns

SOURCE = Path(__file__).with_name("dial.c")
_PATIENCE_S = 900.0


class Work(StrEnum):
    """What is done with sockets; dial.c tells."""

    CONNECT = "connect"
    EXCHANGE = "exchange"
    DATAGRAMS = "datagrams"
    CONVERSATION = "conversation"
    STREAM = "stream"


_SERVERS = {
    Work.CONNECT: "accept",
    Work.EXCHANGE: "echo",
    Work.DATAGRAMS: "datagrams",
    Work.CONVERSATION: "datagrams",
    Work.STREAM: "drain",
}


@dataclass(frozen=True)
class Contender:
    """Who dials what: TCP and UDP targets as `10.96.1.0:80`; no cgroup: where we are ourselves."""

    name: str
    client: Netns
    server: Netns
    streams: Sequence[str]
    datagrams: Sequence[str]
    cgroup: Path | None = None

    def targets(self, work: Work) -> Sequence[str]:
        """What it dials in such work."""
        udp = work in {Work.DATAGRAMS, Work.CONVERSATION}
        return self.datagrams if udp else self.streams


@dataclass(frozen=True)
class Turn:
    """Nanoseconds: all of it, the processors' time of both ends, and of each connection."""

    wall: int
    cpu: int
    times: tuple[int, ...]


def build(folder: Path) -> Path:
    """dial.c as a program. Raises CalledProcessError."""
    program = folder / "dial"
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


def take_turns(
    program: Path, work: Work, contenders: Sequence[Contender], turns: int, count: int
) -> dict[str, list[Turn]]:
    """The turns of each contender, in their order. Raises CalledProcessError."""
    with ExitStack() as undo:
        lines = [_line(program, work, each, undo) for each in contenders]
        done = subprocess.run(
            [str(program), "turns", work, str(turns), str(count)],
            input="\n".join(lines),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_PATIENCE_S,
        )
    found: dict[str, list[Turn]] = {each.name: [] for each in contenders}
    for line in done.stdout.splitlines():
        name, wall, cpu, *times = line.split()
        found[name].append(Turn(int(wall), int(cpu), tuple(map(int, times))))
    return found


def _line(program: Path, work: Work, each: Contender, undo: ExitStack) -> str:
    """A contender as dial.c reads it; its server runs until the end."""
    server = each.server.popen(str(program), "serve", _SERVERS[work], str(cluster.TARGET_PORT))
    undo.callback(server.wait)
    undo.callback(server.kill)
    if server.stdout is None or server.stdout.readline() != "ready\n":
        raise RuntimeError(f"the server of {each.name} did not start")
    cgroup = str(each.cgroup / "cgroup.procs") if each.cgroup else "-"
    words = [each.name, f"/run/netns/{each.client.name}", cgroup, str(server.pid)]
    return " ".join([*words, *each.targets(work)])

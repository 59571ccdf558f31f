"""Traffic that must not notice what a test does: old connections that go on, new ones always.

with traffic(netns, [("10.96.0.20", 80)]) as flow:
    …                                            # whatever agents should survive
assert flow.opened > 50                          # and nothing broke, or the `with` has failed
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from scratch import until

from podwire_lab.machine import namespaces

_TALKERS = Path(__file__).with_name("talkers.py")


class Told(msgspec.Struct):
    """What talkers.py says; its docstring has the fields."""

    answers: int = 0
    opened: int = 0
    broken: list[str] = []
    silence: float = 0.0


def _sent_again(netns: str) -> dict[str, int]:
    """Segments, SYNs too, that each namespace of the lab had to send twice: what is dropped is."""

    def count() -> int:
        text = Path("/proc/thread-self/net/snmp").read_text()
        names, values = (row.split() for row in text.splitlines() if row.startswith("Tcp:"))
        return int(values[names.index("RetransSegs")])

    found = {}
    for each in namespaces.named(".".join(netns.split(".")[:2]) + "."):
        with suppress(FileNotFoundError):  # a pod that went just now
            found[each] = namespaces.inside(each, count)
    return found


class Flow:
    """Traffic as it goes, out of a namespace of a lab."""

    def __init__(self, client: subprocess.Popen[bytes], netns: str) -> None:
        self.told = Told()
        self._netns, self._before = netns, _sent_again(netns)
        self._client = client
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def goes_on(self, connections: int = 20) -> None:
        """Wait for some more new connections; fails when one broke."""
        before = self.told.opened
        until(
            "traffic goes on",
            lambda: bool(self.told.broken) or self.told.opened >= before + connections,
            60,
        )
        assert self.told.broken == [], self.told.broken

    @property
    def was_held_up(self) -> bool:
        """Whether somebody waited a second, and for a packet: not for a processor alone."""
        after = _sent_again(self._netns)
        return self.told.silence >= 1 and any(
            count > self._before.get(each, 0) for each, count in after.items()
        )

    def end(self) -> None:
        """Let it come to its end, which it says itself."""
        assert self._client.stdin is not None
        self._client.stdin.close()
        self._reader.join(60)

    def _listen(self) -> None:
        assert self._client.stdout is not None
        for line in self._client.stdout:
            self.told = msgspec.json.decode(line, type=Told)


@contextmanager
def traffic(
    netns: str, targets: Sequence[tuple[str, int]], long: int = 10, pace: float = 0.02
) -> Iterator[Flow]:
    """Traffic out of a namespace, to addresses and ports, while the block runs.

    long: old connections to each target, which ask every `pace` seconds. Fails when any
    connection breaks or is refused, or when the traffic did not go on to the end.
    """
    enter = ["nsenter", f"--net={namespaces.path(netns)}"]
    words = [f"{address},{port}" for address, port in targets]
    talk = [*enter, sys.executable, "-I", "-S", str(_TALKERS), str(long), str(pace), *words]
    with subprocess.Popen(talk, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        try:
            flow = Flow(client, netns)
            flow.goes_on()
            yield flow
            flow.goes_on()
            flow.end()
            assert flow.told.broken == [], flow.told.broken
        finally:
            client.kill()

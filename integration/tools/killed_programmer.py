"""Changes a node's Services again and again, killed (SIGKILL) at a later step each time.

    nsenter --net=… python killed_programmer.py CGROUP FOLDER

A step is a call of bpf(2): the N-th programmer is killed before its N-th, and the next one goes on
from what is there, with the other one of two states. It ends when one was not killed any more, and
then brings the first state about. Output: a line a programmer, `killed N` or `done N`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy_stage import endpoints, service, sticky
from socket_programmer import Programmer

from podwire_core.objects import KubernetesObject
from podwire_ebpf import syscall
from podwire_ebpf.place import Place

WEB, STICKY, OTHER = "10.96.0.10", "10.96.0.11", "10.96.0.12"
#: Endpoints of each Service in the two states, some in slots behind the frontend's own.
STATES: tuple[dict[str, range], dict[str, range]] = (
    {WEB: range(1, 25), STICKY: range(31, 35)},
    {WEB: range(5, 12), STICKY: range(33, 55)},
)


def objects(state: int) -> list[KubernetesObject]:
    """The first state has two Services, the second one three."""
    wanted = STATES[state]
    found: list[KubernetesObject] = [
        service("web", WEB, nodePort=30080),
        endpoints("web", *wanted[WEB]),
        sticky("sticky", STICKY),
        endpoints("sticky", *wanted[STICKY]),
    ]
    if state:
        found += [service("other", OTHER), endpoints("other", 58, 59)]
    return found


def killed_before(step: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, but for the step-th time."""
    calls = iter(range(1, step + 1))

    def counted(*arguments: Any) -> Any:
        if next(calls, step) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    return counted


def killed_at(step: int, place: Place, state: int) -> bool:
    """Whether a programmer was killed, in a process of its own."""
    child = os.fork()
    if not child:
        syscall._call = killed_before(step, syscall._call)
        bring_about(place, state)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert status == 0, status
    return False


def bring_about(place: Place, state: int) -> None:
    """As an agent that starts."""
    programmer = Programmer(place)
    programmer.start(*objects(state))
    programmer.close()


def main() -> None:
    """See the module."""
    place = Place(*map(Path, sys.argv[1:]))
    step = 1
    while killed_at(step, place, step % 2):
        print("killed", step, flush=True)
        step += 1
    print("done", step, flush=True)
    bring_about(place, 0)


if __name__ == "__main__":
    main()

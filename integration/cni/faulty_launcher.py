"""Runs the plugin and lets one step of its way to the kernel go wrong.

    python faulty_launcher.py kill 7     SIGKILL instead of step 7
    python faulty_launcher.py term 7     SIGTERM at step 7
    python faulty_launcher.py refuse 7   the kernel refuses step 7

Steps, counted from 0: taking the lease, each sysctl, each rtnetlink message, which are sent one
by one for this. A call with fewer steps than that goes well. The product knows nothing of this
file.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from podwire_cni import leases, netlink, plugin
from podwire_cni.rtnetlink import Message, Refused, Socket

WRITE = "write_sysctl"  # netlink's own name for what is namespace's
FAULT, LEFT = sys.argv[1], [int(sys.argv[2])]


def step() -> None:
    LEFT[0] -= 1
    if LEFT[0] != -1:
        return
    if FAULT == "refuse":
        raise Refused("a step", errno.ENOBUFS)
    os.kill(os.getpid(), signal.SIGKILL if FAULT == "kill" else signal.SIGTERM)


def stepwise(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step()
        return function(*args, **kwargs)

    return wrapped


def perform_one_by_one(node: Socket, messages: Sequence[Message]) -> None:
    for message in messages:
        step()
        perform(node, [message])


perform = Socket.perform
Socket.perform = perform_one_by_one  # type: ignore[method-assign,assignment]  # a fault
setattr(netlink, WRITE, stepwise(getattr(netlink, WRITE)))
if FAULT != "refuse":  # a lease is not the kernel's to refuse
    leases.Leases.acquire = stepwise(leases.Leases.acquire)  # type: ignore[method-assign]
plugin.main()

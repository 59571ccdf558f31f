"""Runs the plugin and lets one step of its way to the kernel go wrong.

    python faulty_launcher.py kill 7     SIGKILL instead of step 7
    python faulty_launcher.py term 7     SIGTERM at step 7
    python faulty_launcher.py refuse 7   the kernel refuses step 7

Steps, counted from 0: taking the lease, each sysctl, each rtnetlink request. A call with
fewer steps than that goes well. The product knows nothing of this file.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Self

from pyroute2 import NetlinkError

from podwire_cni import leases, netlink, plugin

FAULT, LEFT = sys.argv[1], [int(sys.argv[2])]


def step() -> None:
    LEFT[0] -= 1
    if LEFT[0] != -1:
        return
    if FAULT == "refuse":
        raise NetlinkError(errno.ENOBUFS)
    os.kill(os.getpid(), signal.SIGKILL if FAULT == "kill" else signal.SIGTERM)


def stepwise(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step()
        return function(*args, **kwargs)

    return wrapped


class Socket:
    """An IPRoute whose every request is a step."""

    def __init__(self) -> None:
        self.real = netlink_iproute()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.real.close()

    def __getattr__(self, name: str) -> Any:
        return stepwise(getattr(self.real, name))


netlink_iproute = netlink.IPRoute
netlink.IPRoute = Socket
netlink.write_sysctl = stepwise(netlink.write_sysctl)
if FAULT != "refuse":  # a lease is not the kernel's to refuse
    leases.Leases.acquire = stepwise(leases.Leases.acquire)  # type: ignore[method-assign]
plugin.main()

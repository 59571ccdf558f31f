"""What this machine must offer before a lab is made; each lack is one clear sentence."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from podwire_core.errors import NftError, NftUnavailable
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.snapshot import Snapshot
from podwire_lab.machine import links, namespaces
from podwire_policy.policies import Policies
from podwire_proxy.services import Services

_NODE = "check"
_TOOLS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}


class Unmet(Exception):  # noqa: N818 - a state of the machine
    """The machine lacks something; the text says what, and what to do."""


def check() -> None:
    """Try everything that a lab needs, in a namespace that is gone afterwards. Raises Unmet."""
    if not sys.platform.startswith("linux"):
        raise Unmet("podwire needs Linux: run it in a virtual machine")
    if os.geteuid() != 0:
        raise Unmet("podwire makes network namespaces: run it as root (sudo)")
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise Unmet(f"{tool} is not installed: install the package {package}")
    if not Path("/proc/sys/net/ipv6").exists():
        raise Unmet("the kernel runs without IPv6: start it without ipv6.disable=1")
    try:
        namespaces.inside_new(_try)
    except Unmet:
        raise
    except Exception as error:  # pyroute2's errors have no common base below this
        raise Unmet(f"the kernel refuses a namespace with a bridge and a veth: {error}") from error


def _try() -> None:
    """What a node is made of: links, and the very tables that an agent fills."""
    links.try_links()
    for desired in (Services(_NODE), Policies(_NODE)):
        owner = Owner(_kernel(), desired.tables)
        try:
            owner.change(desired.update(Snapshot(), ()))
        except NftError as error:
            raise Unmet(f"the kernel refuses our nftables rules: {error}") from error


def _kernel() -> Kernel:
    try:
        return Kernel()
    except NftUnavailable as error:
        raise Unmet(str(error)) from error

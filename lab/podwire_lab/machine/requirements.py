"""What this machine must offer before a lab is made; each lack is one clear sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from podwire_lab.machine import links, namespaces

_TOOLS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}

#: What the agent's tables are made of; a kernel or a tool too old refuses it here.
_RULES = b"""
table ip podwire-check {
  map endpoints { typeof ip daddr . meta l4proto . th dport : ip daddr . th dport; }
  chain services {
    type nat hook prerouting priority -100
    dnat ip addr . port to ip daddr . meta l4proto . th dport map @endpoints
  }
}
table ip6 podwire-check { chain leave { type nat hook postrouting priority 100; masquerade; }; }
"""


class Unmet(Exception):  # noqa: N818 - a state of the machine
    """The machine lacks something; the text says what, and what to do."""


def check() -> None:
    """Try everything that a lab needs, in a namespace that is gone afterwards. Raises Unmet."""
    if not sys.platform.startswith("linux"):
        raise Unmet("a lab needs Linux: run it in a virtual machine (vagrant/ has one)")
    if os.geteuid() != 0:
        raise Unmet("a lab makes network namespaces: run it as root (sudo)")
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
    links.try_links()
    nft = subprocess.run(["nft", "-f", "-"], input=_RULES, capture_output=True, check=False)
    if nft.returncode != 0:
        reason = nft.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Unmet(f"nftables cannot translate addresses here (nf_tables, nft_nat): {reason}")

"""What this machine must offer before a lab is made; each lack is one clear sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from podwire_core.errors import NftError, NftUnavailable
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.snapshot import Snapshot
from podwire_lab.kubernetes import programs
from podwire_lab.machine import cgroups, links, namespaces
from podwire_lab.topology import Lab, Proxy, ProxyMode
from podwire_policy.policies import Policies
from podwire_proxy.services import Services

_NODE = "check"
_CHAIN = "PODWIRE-CHECK"
#: What kube-proxy's iptables mode is made of, a rule each: modules that a kernel may lack.
_IPTABLES_RULES = (
    ("-m", "comment", "--comment", "x", "-j", "MASQUERADE"),
    ("-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "RETURN"),
    ("-m", "mark", "--mark", "0x4000/0x4000", "-j", "RETURN"),
    ("-m", "addrtype", "--dst-type", "LOCAL", "-j", "RETURN"),
    ("-m", "conntrack", "--ctstate", "NEW", "-j", "RETURN"),
    ("-m", "recent", "--name", "x", "--rcheck", "--seconds", "1", "--reap", "-j", "RETURN"),
    ("-j", "MARK", "--or-mark", "0x4000"),
)
_TOOLS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}


class Unmet(Exception):  # noqa: N818 - a state of the machine
    """The machine lacks something; the text says what, and what to do."""


def check(lab: Lab | None = None) -> None:
    """Try everything that a lab needs, in a namespace that is gone afterwards. Raises Unmet.

    Of a lab that wants a real control plane, what that needs as well.
    """
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
    if lab is not None and lab.proxy_mode is ProxyMode.EBPF and cgroups.mount() is None:
        raise Unmet("cgroup2 is not mounted: run `mount -t cgroup2 cgroup2 /sys/fs/cgroup`")
    if lab is not None and lab.kubernetes:
        _check_kubernetes(lab)


def _try() -> None:
    """What a node is made of: links, and the very tables that an agent fills."""
    links.try_links()
    for desired in (Services(_NODE), Policies(_NODE)):
        owner = Owner(_kernel(), desired.tables)
        try:
            owner.change(desired.update(Snapshot(), ()))
        except NftError as error:
            raise Unmet(f"the kernel refuses our nftables rules: {error}") from error


def _check_kubernetes(lab: Lab) -> None:
    """The programs, and what kube-proxy does to the kernel in the mode that is wanted."""
    kube_proxy = () if lab.proxy is Proxy.PODWIRE else ("kube-proxy",)
    try:
        programs.folder((*programs.CONTROL_PLANE, *kube_proxy))
    except programs.ProgramsMissing as error:
        raise Unmet(str(error)) from error
    if lab.proxy is Proxy.KUBE_PROXY_IPTABLES:
        namespaces.inside_new(_try_iptables)


def _try_iptables() -> None:
    """The matches and targets of kube-proxy's rules, in a chain of the namespace's own."""
    for tool in ("iptables", "ip6tables"):
        if shutil.which(tool) is None:
            raise Unmet(f"{tool} is not installed: install the package iptables")
        for rule in (("-N", _CHAIN), *(("-A", _CHAIN, *words) for words in _IPTABLES_RULES)):
            command = [tool, "-w", "-t", "nat", *rule]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
                raise Unmet(f"the kernel refuses `{' '.join(command)}`: {reason}")


def _kernel() -> Kernel:
    try:
        return Kernel()
    except NftUnavailable as error:
        raise Unmet(str(error)) from error

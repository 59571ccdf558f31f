"""Which chains of iptables are a kube-proxy's, and the text that removes them. Pure.

    *nat
    :KUBE-SERVICES - [0:0]                                        makes it empty
    -D PREROUTING -m comment --comment "…" -j KUBE-SERVICES       rules of others that lead to it
    -X KUBE-SERVICES
    COMMIT

All of a table goes at once (iptables-restore --noflush): no packet sees half of it.

    chains                                                        whose
    KUBE-SERVICES, KUBE-NODEPORTS, KUBE-POSTROUTING, …            kube-proxy's
    KUBE-SVC-…, KUBE-SVL-…, KUBE-SEP-…, KUBE-FW-…, KUBE-EXT-…     kube-proxy's, as KUBE-XLB-… was
    KUBE-NODE-PORT, KUBE-LOAD-BALANCER, KUBE-IPVS-FILTER, …       kube-proxy's, of mode ipvs
    KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT        kubelet's, and so they stay
    KUBE-MARK-DROP                                                kubelet's until 1.27: it stays

A chain that a rule of someone else leads to stays, with what is in it: portmap, say, may be told
to mark packets by KUBE-MARK-MASQ. In a built-in chain, a rule is kube-proxy's when it leads to one
of those that kube-proxy hangs there.

Source: CleanupLeftovers in pkg/proxy/iptables and pkg/proxy/ipvs of Kubernetes 1.36.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import NamedTuple

TABLES = ("nat", "filter", "mangle")

_FIXED = {
    "nat": frozenset(
        {
            "KUBE-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-POSTROUTING",
            "KUBE-MARK-MASQ",
            "KUBE-PROXY-CANARY",
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
        }
    ),
    "filter": frozenset(
        {
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FORWARD",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-FIREWALL",
            "KUBE-PROXY-CANARY",
            "KUBE-NODE-PORT",
            "KUBE-SOURCE-RANGES-FIREWALL",
            "KUBE-IPVS-FILTER",
            "KUBE-IPVS-OUT-FILTER",
        }
    ),
    "mangle": frozenset({"KUBE-PROXY-CANARY"}),
}
#: Chains that no built-in one leads to, unless someone else made it so.
_NEVER_HOOKED = frozenset({"KUBE-MARK-MASQ", "KUBE-PROXY-CANARY"})
#: Each Service and each endpoint has chains of its own, named by a hash, in nat.
_HASHED = re.compile(r"KUBE-(SVC|SVL|SEP|FW|EXT|XLB)-[A-Z2-7]{1,24}")


def is_kube_proxys(table: str, chain: str) -> bool:
    """Whether a chain of this table is a kube-proxy's."""
    return chain in _FIXED[table] or (table == "nat" and bool(_HASHED.fullmatch(chain)))


def _is_hooked(table: str, chain: str) -> bool:
    return chain in _FIXED[table] - _NEVER_HOOKED


class Leftovers(NamedTuple):
    """A table's share. jumps: rules that lead to ours, as iptables-save writes them.

    needed: chains of ours that chains of others lead to.
    """

    chains: tuple[str, ...] = ()
    jumps: tuple[str, ...] = ()
    needed: frozenset[str] = frozenset()


def find(table: str, lines: Iterable[str]) -> Leftovers:
    """What a kube-proxy left in a table. lines: of iptables-save, which may be very many."""
    chains: list[str] = []
    built_in: set[str] = set()
    jumps: list[str] = []
    needed: set[str] = set()
    for line in lines:
        name, _, rest = line[1:].partition(" ")
        if line.startswith(":"):
            if is_kube_proxys(table, name):
                chains.append(name)
            elif not rest.startswith("-"):  # a policy
                built_in.add(name)
        elif line.startswith("-A ") and not is_kube_proxys(table, source := _source(line)):
            target = _target(line)
            if _is_hooked(table, target) and source in built_in:
                jumps.append(line.strip())
            elif is_kube_proxys(table, target):
                needed.add(target)
    return Leftovers(tuple(chains), tuple(jumps), frozenset(needed))


def targets(lines: Iterable[str], chains: AbstractSet[str]) -> set[str]:
    """Where the rules of some chains lead."""
    return {_target(line) for line in lines if line.startswith("-A ") and _source(line) in chains}


def without(found: Leftovers, kept: AbstractSet[str]) -> Leftovers:
    """The same but for some chains, and for the rules that lead to these."""
    chains = tuple(chain for chain in found.chains if chain not in kept)
    jumps = tuple(line for line in found.jumps if _target(line) not in kept)
    return Leftovers(chains, jumps)


def restoring(table: str, found: Leftovers) -> str:
    """What iptables-restore --noflush has to be given."""
    lines = [f"*{table}"]
    lines += [f":{chain} - [0:0]" for chain in found.chains]
    lines += [f"-D {line.removeprefix('-A ')}" for line in found.jumps]
    lines += [f"-X {chain}" for chain in found.chains]
    return "\n".join([*lines, "COMMIT", ""])


def _source(line: str) -> str:
    return line[3:].partition(" ")[0].strip()


def _target(line: str) -> str:
    """Where a rule leads; "" for one that leads nowhere, or that no one can read."""
    if "KUBE-" not in line:
        return ""
    try:
        words = shlex.split(line)
    except ValueError:
        return ""
    for option, target in pairwise(words):
        if option in {"-j", "-g"}:
            return target
    return ""

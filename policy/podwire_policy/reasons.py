"""Why a packet was dropped: what the chain that dropped it stands for.

Each chain that drops says so to the log (NFLOG) first, and its prefix is the chain's own name.
Whoever reads the log finds the reason under that name in Policies.reasons:

    chain                         kind       who decided
    egress-…, ingress-…           isolated   policies isolate the pod, and none of them allows it
    denied-egress-…, …            denied     a rule of a ClusterNetworkPolicy with action Deny
    unknown-egress, …             unknown    the pod's address is nobody's, as far as is known
    borrowed                      borrowed   a pod sent under an address that is not its own
    cut                           cut        a flow that the policies of today do not allow
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from podwire_core.objects import ObjectName, PolicyType

#: The NFLOG group that our drops are logged to.
LOG_GROUP = 28791

#: The bit of a connection's mark that says: policies no longer allow it, drop its packets.
CUT_BIT = 0x2000_0000


class Kind(StrEnum):
    """What kind of decision a drop was."""

    ISOLATED = "isolated"
    DENIED = "denied"
    UNKNOWN = "unknown"
    BORROWED = "borrowed"
    CUT = "cut"


class PolicyName(NamedTuple):
    """A policy of either kind. kind: `NetworkPolicy` or `ClusterNetworkPolicy`."""

    kind: str
    name: ObjectName

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Reason:
    """What one dropping chain stands for.

    direction: whose side denied; None where it is not told (CUT). policies: those that isolate
    the pod, or the one that denied. rule: of DENIED, `ClusterNetworkPolicy NAME egress[0] "its
    name"`; else "".
    """

    chain: str
    kind: Kind
    direction: PolicyType | None = None
    policies: tuple[PolicyName, ...] = ()
    rule: str = ""

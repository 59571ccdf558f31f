"""What the agent answers: every connection judged by the text of the policies and by the kernel.

It goes through the socket as JSON and is what `podwire explain --json` prints, so its fields are
a promise to programs.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from podwire_core import typed
from podwire_node.control.errors import ControlError


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    """Every field is told, also one that says nothing: scripts look for them."""


class EndAnswer(_Answer, frozen=True):
    """One end: its address, and the pod and the node it belongs to, "" where to none."""

    address: str
    pod: str = ""
    node: str = ""

    @property
    def words(self) -> str:
        """The pod with its address, or the address."""
        return f"{self.pod} ({self.address})" if self.pod else self.address


class DecisionAnswer(_Answer, frozen=True):
    """What a rule of a ClusterNetworkPolicy said. rule: `ClusterNetworkPolicy NAME egress[0]`."""

    tier: str
    rule: str
    action: str


class SideAnswer(_Answer, frozen=True):
    """One direction, by the text of the policies.

    kind: of a denial: isolated, denied or unknown (podwire_policy.reasons.Kind); "" where it is
    allowed. isolated_by: the NetworkPolicies that isolate the pod; allowed_by: their rules that
    allow this.
    nearest_miss: the rule that came closest to allowing it, and what it lacked.
    """

    allowed: bool
    reason: str
    kind: str = ""
    isolated_by: tuple[str, ...] = ()
    allowed_by: tuple[str, ...] = ()
    decision: DecisionAnswer | None = None
    passed: tuple[DecisionAnswer, ...] = ()
    nearest_miss: str = ""


class StepAnswer(_Answer, frozen=True):
    """One rule that did something. packets: how many it has dropped, where it counts them."""

    hook: str
    chain: str
    why: str
    effect: str
    packets: int | None = None


class KernelAnswer(_Answer, frozen=True):
    """What the tables of one node do with the connection's first packet.

    allowed: None where it cannot be told. judges: the sides whose pod is this node's; of others
    its tables know nothing. wrong: what is in the kernel and should not be, or the other way
    round.
    """

    node: str
    allowed: bool | None
    judges: tuple[str, ...] = ()
    steps: tuple[StepAnswer, ...] = ()
    wrong: tuple[str, ...] = ()


class FlowAnswer(_Answer, frozen=True):
    """One connection. port and destination are as they are after DNAT; dialled: what was meant.

    seen_as: the address that the destination sees in place of the source's, "" for the source's.
    """

    source: EndAnswer
    destination: EndAnswer
    port: int
    protocol: str
    allowed: bool
    egress: SideAnswer
    ingress: SideAnswer
    kernel: KernelAnswer
    differs: bool = False
    dialled: str = ""
    seen_as: str = ""


class Verdict(StrEnum):
    """Of all connections together. The exit codes of the command are by these."""

    ALLOWED = "allowed"
    DENIED = "denied"
    PARTLY = "partly denied"
    DIFFERS = "the kernel differs"


class Explanation(_Answer, frozen=True):
    """The whole answer. node: whose agent answered."""

    node: str
    source: str
    destination: str
    verdict: Verdict
    flows: tuple[FlowAnswer, ...]
    notes: tuple[str, ...] = ()

    @property
    def judges(self) -> bool:
        """Whether the node's kernel has a say in any of it."""
        return any(flow.kernel.judges for flow in self.flows)

    @property
    def homes(self) -> tuple[str, ...]:
        """The nodes whose kernels have."""
        ends = (end for flow in self.flows for end in (flow.source, flow.destination))
        return tuple(sorted({end.node for end in ends if end.pod and end.node}))


def verdict_of(flows: tuple[FlowAnswer, ...]) -> Verdict:
    """What a script wants to know."""
    if any(each.differs for each in flows):
        return Verdict.DIFFERS
    if all(each.allowed for each in flows):
        return Verdict.ALLOWED
    return Verdict.PARTLY if any(each.allowed for each in flows) else Verdict.DENIED


def explanation(document: object) -> Explanation:
    """An agent's answer, read. Raises ControlError where it is none, of an agent of another age."""
    try:
        return typed.convert(document, Explanation)
    except msgspec.ValidationError as error:
        raise ControlError(f"the agent answers what this command does not know: {error}") from error

"""Who may talk to whom, and why: the policies as the API's text has them, without cleverness.

It shares no code with the compiler, whose judge it is. It also answers people, so that a
judgement names policies and rules. The order of decisions, for each side of a connection:

    1  a node reaches its own pods                                  always
    2  a pod's address, and nobody knows whose: where policies are  denied
    3  cluster policies, tier Admin: the first rule that matches    Accept, Deny, Pass on to 4
    4  NetworkPolicies that select the pod: any rule that matches   allowed; none: denied
    5  tier Baseline, where no policy of 4 selects the pod          Accept, Deny
    6  nobody said anything                                         allowed

    judgement   what is answered: both sides, with names and a sentence
    question    both ends of a connection
    world       what the objects say: the naive way, which looks at everything each time
    index       Judge: the same answers for many questions
    sides       the table above
    peers       who a rule means       ports   which ports a rule means
    misses      for what was denied: the rule that came closest
    words       rules in words

Sources: kubernetes.io/docs/concepts/services-networking/network-policies, networking/v1;
network-policy-api.sigs.k8s.io, policy.networking.k8s.io/v1alpha2.
"""

from __future__ import annotations

from podwire_core.objects import ObjectName, Pod
from podwire_core.snapshot import Snapshot
from podwire_policy.oracle.index import Judge
from podwire_policy.oracle.judgement import Decision, Judgement, RuleName, Side
from podwire_policy.oracle.misses import misses
from podwire_policy.oracle.question import End, Question
from podwire_policy.oracle.sides import answer
from podwire_policy.oracle.world import World

__all__ = [
    "Decision",
    "End",
    "Judge",
    "Judgement",
    "Question",
    "RuleName",
    "Side",
    "World",
    "judge",
    "misses",
    "owner",
]


def judge(
    snapshot: Snapshot,
    source: ObjectName | str,
    destination: ObjectName | str,
    protocol: str,
    port: int = 0,
) -> Judgement:
    """Judge one new connection, addresses as they are after DNAT and before SNAT.

    source, destination: a pod, or an address, which stands for the pod that owns it. Two
    pods talk over the first family both have; name an address to choose one. A pod asked about
    itself is one that dials its own Service: what goes to its own address never leaves it.
    protocol: a Protocol, or another one's name (`ICMP`), which only rules without ports match.
    Raises LookupError when there is no such pod, or no address to talk from or to.
    """
    world = World(snapshot)
    return answer(world, world.question(source, destination, protocol, port))


def owner(snapshot: Snapshot, address: str) -> Pod | None:
    """The pod that owns an address; the one with the first right when several name it."""
    return World(snapshot).owner(address)

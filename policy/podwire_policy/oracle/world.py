"""What the objects say, read the naive way: every question looks at all of them.

An address is a pod's when the pod names it; when several do, the one with the first right has
it (podwire_policy.addresses). Where the node itself gave the address away (Attached), the node
knows best: then it is the pod's to whom it was given, or nobody's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from podwire_core.family import Family, canonical_address, family_of
from podwire_core.objects import (
    Attached,
    ClusterNetworkPolicy,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PolicyType,
    Tier,
)
from podwire_core.selectors import LabelSelector
from podwire_core.snapshot import Snapshot
from podwire_policy.addresses import Right
from podwire_policy.oracle.question import End, Question


class World:
    """A snapshot, and what a judge asks of it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    # ------------------------------------------------------------------------ the ends

    def question(
        self, source: ObjectName | str, destination: ObjectName | str, protocol: str, port: int
    ) -> Question:
        """The question between two pods or addresses; see oracle.judge for both, and errors."""
        theirs = self._addresses(destination)
        for here in self._addresses(source):
            for there in theirs:
                if family_of(here) is family_of(there):
                    one, other = (End(ip, self.owner(ip)) for ip in (here, there))
                    return Question(one, other, protocol, port)
        raise LookupError(f"{source} and {destination} have no addresses of one family")

    def _addresses(self, end: ObjectName | str) -> tuple[str, ...]:
        """Addresses an end can use; IPv4 first, as families are sorted."""
        if isinstance(end, str):
            return (canonical_address(end),)
        pod = self._snapshot.get(Pod, end)
        if pod is None:
            raise LookupError(f"there is no pod {end}")
        if pod.spec.host_network:
            return self._node_ips(pod.spec.node_name)
        mine = (ip for ip in pod.ips if self.owner(ip) == pod)
        return tuple(sorted(mine, key=lambda ip: list(Family).index(family_of(ip))))

    def owner(self, address: str) -> Pod | None:
        """The pod that owns a canonical address."""
        given = self.attachments(address)
        rightful = (
            pod
            for pod in self.claimants(address)
            if not given or any(is_given_to(each, pod) for each in given)
        )
        return min(rightful, key=Right.of, default=None)

    def own_node(self, end: End) -> tuple[str, ...]:
        """The addresses of the node that an end runs on, by its Pod, else by its address."""
        if end.pod is not None:
            return self._node_ips(end.pod.spec.node_name)
        node = self.home(end.address)
        return node.internal_ips if node else ()

    def _node_ips(self, name: str) -> tuple[str, ...]:
        node = self._snapshot.get(Node, ObjectName("", name))
        return node.internal_ips if node else ()

    def unknown(self, end: End) -> str:
        """Why nobody knows whose address it is, where policies may concern who has it; else ""."""
        if end.pod is not None:
            return ""
        given = self.attachments(end.address)
        if any(each.pod is None for each in given):
            return ""
        for each in given:
            if each.pod and self.may_concern(each.pod.namespace):
                return f"{end.address} was given to {each.pod}, which is not known here yet"
        node = None if given or not self.may_concern() else self.home(end.address)
        return (
            f"{end.address} is one of {node.name}'s pod addresses, and no pod has it"
            if node
            else ""
        )

    # --------------------------------------------------- looked up; an index may know better

    def claimants(self, address: str) -> Collection[Pod]:
        """Pods that name an address."""
        return [pod for pod in self._snapshot.all(Pod) if address in pod.ips]

    def attachments(self, address: str) -> Collection[Attached]:
        """To whom this node gave an address."""
        return [each for each in self._snapshot.all(Attached) if address in each.addresses]

    def home(self, address: str) -> Node | None:
        """The node whose pods get this address; None for an address of a node itself."""
        nodes = self._snapshot.all(Node)
        if any(address in node.addresses for node in nodes):
            return None
        ip = ipaddress.ip_address(address)
        for node in nodes:
            if any(ip in ipaddress.ip_network(cidr) for cidr in node.pod_cidrs):
                return node
        return None

    def node_addresses(self, selector: LabelSelector) -> Collection[str]:
        """Addresses of the nodes that a selector selects."""
        nodes = (node for node in self._snapshot.all(Node) if selector.matches(node.labels))
        return {address for node in nodes for address in node.addresses}

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Labels of a namespace."""
        return self._snapshot.namespace_labels(name)

    def isolating(self, pod: Pod, direction: PolicyType) -> tuple[NetworkPolicy, ...]:
        """NetworkPolicies that isolate a pod, sorted by name."""
        return tuple(
            policy
            for policy in self._snapshot.all(NetworkPolicy)
            if direction in policy.directions and policy.selects(pod)
        )

    def concerning(self, pod: Pod, tier: Tier) -> tuple[ClusterNetworkPolicy, ...]:
        """ClusterNetworkPolicies of a tier that select a pod: by priority, then by name."""
        labels = self.namespace_labels(pod.name.namespace)
        found = (
            policy
            for policy in self._snapshot.all(ClusterNetworkPolicy)
            if policy.tier is tier and policy.selects(pod, labels)
        )
        return tuple(sorted(found, key=lambda policy: (policy.priority, policy.name)))

    def cluster_policy(self, name: ObjectName) -> ClusterNetworkPolicy | None:
        """One of them, by its name."""
        return self._snapshot.get(ClusterNetworkPolicy, name)

    def may_concern(self, namespace: str | None = None) -> bool:
        """Whether there are policies that may select pods of a namespace (None: any pod)."""
        return self._snapshot.has(ClusterNetworkPolicy) or any(
            namespace in {None, policy.name.namespace}
            for policy in self._snapshot.all(NetworkPolicy)
        )


def is_given_to(given: Attached, pod: Pod) -> bool:
    """Whether an attachment is this pod's. A uid that one of the two does not say fits any."""
    one, other = given.uid, pod.metadata.uid
    return given.pod == pod.name and (not one or not other or one == other)

"""kube-router's iptables ruleset and its ipsets, for the same policies, from the same objects.

    FORWARD ─► KUBE-ROUTER-FORWARD ─► a rule a local pod and direction ─► KUBE-POD-FW-hash
    KUBE-POD-FW-hash     what is always allowed; a rule a policy that selects the pod ─►
    KUBE-NWPLCY-hash     for each rule and port: source set, destination set, port: mark 0x10000
    and then             unmarked: logged, rejected; marked: accepted at the end

Every policy of the cluster has its chain on every node, and every rule its ipsets. A sync writes
all of it anew: all ipsets by swapping, then the whole table, under names that go by the sync.

Left out, in its favour: its own work (only ipset, iptables-save and iptables-restore are timed),
IPv6, and bridged pods' second rules. Named ports are the two that all pods here declare.

Source: kube-router 2.6, pkg/controllers/netpol.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from podwire_core.objects import (
    IPBlock,
    KubernetesObject,
    Namespace,
    NetworkPolicy,
    ObjectName,
    Pod,
    PolicyPeer,
    PolicyPort,
    PolicyType,
)
from policing import crowd

_NAMED = {"http": crowd.PORT, "metrics": 9090}
_ALLOWED, _DONE = "0x10000/0x10000", "0x20000/0x20000"
_HOOKS = ("INPUT", "FORWARD", "OUTPUT")
_TOP = [f":{hook} ACCEPT [0:0]" for hook in _HOOKS] + [
    f":KUBE-ROUTER-{hook} - [0:0]" for hook in _HOOKS
]
_COMMON = """
-A KUBE-NWPLCY-COMMON -m comment --comment "drop invalid" -m conntrack --ctstate INVALID -j DROP
-A KUBE-NWPLCY-COMMON -m comment --comment "stateful" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-NWPLCY-COMMON -m comment --comment "echo" -p icmp -m icmp --icmp-type 8 -j ACCEPT
""".strip().splitlines()  # noqa: E501 - a rule a line


@dataclass(frozen=True)
class _Set:
    """One ipset."""

    name: str
    type: str
    members: tuple[str, ...]


class KubeRouter:
    """In the network namespace of whoever makes it."""

    def __init__(self) -> None:
        self._policies: list[NetworkPolicy] = []
        self._pods: defaultdict[str, dict[ObjectName, Pod]] = defaultdict(dict)
        self._labels: dict[str, dict[str, str]] = {}
        self._version = 0
        self._last: list[str] = []  # names of the last sync's sets
        self.parts: dict[str, float] = {}

    def load(self, objects: Sequence[KubernetesObject]) -> float:
        """Put everything in force. Seconds."""
        for each in objects:
            match each:
                case NetworkPolicy():
                    self._policies.append(each)
                case Namespace():
                    self._labels[each.metadata.name] = each.labels
                case Pod():
                    self._pods[each.name.namespace][each.name] = each
        return self._sync()

    def came(self, pod: Pod) -> float:
        """A pod came: a full sync. Seconds."""
        self._pods[pod.name.namespace][pod.name] = pod
        return self._sync()

    def went(self, pod: Pod) -> float:
        """A pod went: a full sync. Seconds."""
        del self._pods[pod.name.namespace][pod.name]
        return self._sync()

    # ------------------------------------------------------------------------- a sync

    def _sync(self) -> float:
        """Everything anew; only what others' programs need is timed."""
        self._version += 1
        sets: dict[str, _Set] = {}
        chains: dict[str, list[str]] = {}
        for policy in self._policies:
            chains[self._chain(policy)] = list(self._policy_rules(policy, sets))
        table = list(self._table(chains))
        stale = [name for name in self._last if name not in sets]
        self._last = list(sets)
        self.parts = {
            "ipset": _run(["ipset", "restore", "-exist"], _restored(sets.values())),
            "iptables-save": _run(["iptables-save", "-t", "filter"], ()),
            "iptables": _run(["iptables-restore", "-T", "filter"], table),
            "stale sets": _run(["ipset", "restore"], (f"destroy {name}" for name in stale)),
        }
        return sum(self.parts.values())

    def _table(self, chains: dict[str, list[str]]) -> Iterator[str]:
        """The table filter, whole."""
        local = [
            pod
            for pods in self._pods.values()
            for pod in pods.values()
            if pod.spec.node_name == crowd.NODE
        ]
        firewalls = {
            pod.name: f"KUBE-POD-FW-{_hash(str(pod.name), self._version)}" for pod in local
        }
        yield "*filter"
        yield from _TOP
        yield ":KUBE-NWPLCY-COMMON - [0:0]"
        yield ":KUBE-NWPLCY-DEFAULT - [0:0]"
        yield from (f":{chain} - [0:0]" for chain in (*firewalls.values(), *chains))
        yield from (f"-A {hook} -j KUBE-ROUTER-{hook}" for hook in _HOOKS)
        yield from _COMMON
        yield f"-A KUBE-NWPLCY-DEFAULT -j MARK --set-xmark {_ALLOWED}"
        for pod in local:
            yield from _jumps(pod, firewalls[pod.name])
        yield from (f"-A KUBE-ROUTER-{hook} -m mark --mark {_DONE} -j ACCEPT" for hook in _HOOKS)
        for pod in local:
            yield from self._firewall(pod, firewalls[pod.name])
        for rules in chains.values():
            yield from rules
        yield "COMMIT"

    def _firewall(self, pod: Pod, chain: str) -> Iterator[str]:
        address = pod.ips[0]
        yield f"-A {chain} -d {address} -m addrtype --src-type LOCAL -j ACCEPT"
        covered: set[PolicyType] = set()
        for policy in self._policies:
            if not policy.selects(pod):
                continue
            covered |= policy.directions
            match = "" if len(policy.directions) > 1 else _side(policy, address)
            words = _comment(f"run through nw policy {policy.name}")
            yield f"-A {chain} {match}{words} -j {self._chain(policy)}"
        for direction, flag in ((PolicyType.INGRESS, "-d"), (PolicyType.EGRESS, "-s")):
            if direction not in covered:
                yield f"-A {chain} {flag} {address} -j KUBE-NWPLCY-DEFAULT"
        yield f"-A {chain} -j KUBE-NWPLCY-COMMON"
        unmarked = f"-m mark ! --mark {_ALLOWED}"
        limit = "-m limit --limit 10/min --limit-burst 10"
        yield f"-A {chain} {unmarked} {limit} -j NFLOG --nflog-group 100"
        yield f"-A {chain} {unmarked} -j REJECT --reject-with icmp-port-unreachable"
        yield f"-A {chain} -j MARK --set-xmark 0x0/0x10000"
        yield f"-A {chain} -j MARK --set-xmark {_DONE}"

    # ---------------------------------------------------------------------- a policy

    def _chain(self, policy: NetworkPolicy) -> str:
        return f"KUBE-NWPLCY-{_hash(str(policy.name), self._version)}"

    def _policy_rules(self, policy: NetworkPolicy, sets: dict[str, _Set]) -> Iterator[str]:
        """The rules of a policy's chain; the ipsets that they need go into `sets`."""
        chain = self._chain(policy)
        subjects = [
            pod for pod in self._pods[policy.name.namespace].values() if policy.selects(pod)
        ]
        for direction in sorted(policy.directions):
            mine = _pod_set(f"{policy.name}{direction}", subjects)
            sets[mine.name] = mine
            for number, rule in enumerate(policy.rules(direction)):
                label = f"{policy.name}{direction}{number}"
                for theirs in self._peers(policy, rule.peers, label):
                    sets[theirs.name] = theirs
                    sides = (mine, theirs) if direction is PolicyType.EGRESS else (theirs, mine)
                    for port in rule.ports or ():
                        yield from _rule(chain, policy, sides, port)

    def _peers(
        self, policy: NetworkPolicy, peers: Iterable[PolicyPeer], label: str
    ) -> Iterator[_Set]:
        """One set of pods for a rule, and one of its networks."""
        chosen: list[Pod] = []
        blocks: list[IPBlock] = []
        for peer in peers:
            if peer.ip_block is not None:
                blocks.append(peer.ip_block)
            else:
                chosen += self._selected(policy, peer)
        if chosen:
            yield _pod_set(label, chosen)
        if blocks:
            members = [each.cidr for each in blocks]
            members += [f"{cidr} nomatch" for each in blocks for cidr in each.except_ or ()]
            yield _Set(f"KUBE-NET-{_hash(label)}", "hash:net", tuple(members))

    def _selected(self, policy: NetworkPolicy, peer: PolicyPeer) -> Iterator[Pod]:
        names: Iterable[str] = [policy.name.namespace]
        if (selector := peer.namespace_selector) is not None:
            names = [name for name, labels in self._labels.items() if selector.matches(labels)]
        for name in names:
            for pod in self._pods[name].values():
                if peer.pod_selector is None or peer.pod_selector.matches(pod.labels):
                    yield pod


def _jumps(pod: Pod, chain: str) -> Iterator[str]:
    address = pod.ips[0]
    for hook in ("FORWARD", "OUTPUT"):
        yield f"-A KUBE-ROUTER-{hook} -d {address}{_comment(f'to {pod.name}')} -j {chain}"
    for hook in _HOOKS:
        yield f"-A KUBE-ROUTER-{hook} -s {address}{_comment(f'from {pod.name}')} -j {chain}"


def _rule(
    chain: str, policy: NetworkPolicy, sides: tuple[_Set, _Set], port: PolicyPort
) -> Iterator[str]:
    """Mark what is allowed, and go back."""
    protocol = port.protocol.lower()
    first = _NAMED[port.port] if isinstance(port.port, str) else port.port
    ports = f"{first}:{port.end_port}" if port.end_port else first
    source, destination = (each.name for each in sides)
    match = f"-m set --match-set {source} src -m set --match-set {destination} dst"
    match += f" -p {protocol} -m {protocol} --dport {ports}"
    words = _comment(f"rule to accept, policy {policy.name}")
    yield f"-A {chain}{words} {match} -j MARK --set-xmark {_ALLOWED}"
    yield f"-A {chain}{words} {match} -m mark --mark {_ALLOWED} -j RETURN"


def _side(policy: NetworkPolicy, address: str) -> str:
    flag = "-d" if PolicyType.INGRESS in policy.directions else "-s"
    return f"{flag} {address} "


def _pod_set(label: str, pods: Iterable[Pod]) -> _Set:
    members = {address: None for pod in pods for address in pod.ips}
    return _Set(f"KUBE-POD-{_hash(label)}", "hash:ip", tuple(members))


def _restored(sets: Iterable[_Set]) -> Iterator[str]:
    """Each set filled beside the one in force, then swapped with it."""
    for each in sets:
        other = f"TMP-{each.name[5:]}"
        yield f"create {each.name} {each.type} family inet hashsize 1024 maxelem 65536"
        yield f"create {other} {each.type} family inet hashsize 1024 maxelem 65536"
        yield f"flush {other}"
        yield from (f"add {other} {member}" for member in each.members)
        yield f"swap {each.name} {other}"
        yield f"destroy {other}"


def _comment(words: str) -> str:
    return f' -m comment --comment "{words}"'


def _hash(label: str, version: int = 0) -> str:
    digest = hashlib.sha256(f"{label}{version}".encode()).digest()
    return base64.b32encode(digest).decode()[:16]


def _run(command: Sequence[str], lines: Iterable[str]) -> float:
    """Seconds. Raises CalledProcessError."""
    text = "".join(f"{line}\n" for line in lines).encode()
    before = time.perf_counter()
    subprocess.run(command, input=text, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before

"""ClusterNetworkPolicies (policy.networking.k8s.io/v1alpha2).

This API says what to do with fields that a client does not know: such a rule fails closed. An
Accept matches nothing, a Deny or a Pass becomes a Deny of everything. So `spec` is kept as it was
written and read twice: into structs, and for what no struct has a field for.

    where the unknown field is       who fails closed
    a rule, its peers, its ports     that rule
    spec.subject                     the policy is about every pod
    elsewhere in spec                all its rules; where there is none, nobody

A peer, a port or a subject with no field set counts as one with an unknown field, because a
server that knows another version of this API takes such fields away. An unknown value, such as
another action, makes the object unusable, as any wrong value does. `domainNames` are unknown here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any

import msgspec

from podwire_core import typed
from podwire_core.objects.base import ClusterObject, Protocol, Struct
from podwire_core.objects.cluster import Pod
from podwire_core.objects.cluster_policy_spec import (
    Action,
    Destination,
    EgressRule,
    IngressRule,
    Match,
    NamespacedPods,
    Pods,
    Spec,
    Tier,
    unknown,
)
from podwire_core.objects.policies import PolicyType
from podwire_core.objects.refusals import explain
from podwire_core.selectors import Labels, LabelSelector

_RULE = re.compile(r"spec\.(?P<section>ingress|egress)\[(?P<at>\d+)\]")
MAX_UNKNOWN = 8  # unknown fields that are told of one rule


class ClusterPeer(Struct, frozen=True):
    """Exactly one kind of peers, unless it is unknown. networks: canonical CIDRs.

    unknown: paths of the fields for which its rule fails closed.
    """

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] | None = None
    unknown: tuple[str, ...] = ()


class ClusterPort(Struct, frozen=True):
    """Ports first to last of a protocol, the whole protocol (first is None), or a port's name.

    A name goes with any protocol. unknown: as for peers.
    """

    protocol: Protocol | None = None
    first: int | None = None
    last: int | None = None
    name: str = ""
    unknown: tuple[str, ...] = ()


class ClusterRule(Struct, frozen=True):
    """Peers AND ports; no ports means everything, whatever the protocol.

    unknown: paths of all fields for which it fails closed.
    """

    action: Action
    name: str = ""
    peers: tuple[ClusterPeer, ...] = ()
    ports: tuple[ClusterPort, ...] = ()
    unknown: tuple[str, ...] = ()


# gc=True, because msgspec cannot keep what it read of `spec` otherwise. There are few of them.
class ClusterNetworkPolicy(ClusterObject, frozen=True, dict=True, gc=True):
    """What an administrator accepts, denies, or leaves to the namespaces' own policies.

    spec: as it was written; the properties say what it means.
    """

    spec: dict[str, Any]

    def __post_init__(self) -> None:
        """Read `spec` now, so that what is wrong with it is told by its decoder."""
        _ = self._rules

    @property
    def tier(self) -> Tier:
        """When it is asked."""
        return self._read.tier

    @property
    def priority(self) -> int:
        """0 to 1000; the lowest of a tier is asked first."""
        return self._read.priority

    def rules(self, direction: PolicyType) -> tuple[ClusterRule, ...]:
        """Its rules of one direction, in the order in which they are asked."""
        return self._rules[direction]

    def selects(self, pod: Pod, namespace_labels: Labels) -> bool:
        """Whether the pod is a subject, which hostNetwork pods never are."""
        subject = self._read.subject
        if pod.spec.host_network:
            return False
        if self._unknown_subject:
            return True
        if subject.pods is None:
            return subject.namespaces is None or subject.namespaces.matches(namespace_labels)
        chosen = subject.pods.namespace_selector.matches(namespace_labels)
        return chosen and subject.pods.pod_selector.matches(pod.labels)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Paths of the fields for which it, or a rule of it, fails closed; sorted."""
        rules = (path for rows in self._rules.values() for rule in rows for path in rule.unknown)
        return tuple(sorted({*self._unknown_subject, *self._unknown_spec, *rules}))

    def consequence(self, path: str) -> str:
        """What follows from the field at a path of `unknown`, as the end of a sentence."""
        found = _RULE.match(path)
        if found:
            rule = self.rules(PolicyType(found["section"].title()))[int(found["at"])]
            what = "accepts nothing" if rule.action is Action.ACCEPT else "denies everything"
            return f"so that this rule {what}"
        if path.startswith("spec.subject"):
            return "so that the policy is about every pod"
        if not any(self._rules.values()):
            return "and the policy has no rule: it denies nothing"
        return (
            "so that its rules fail closed: Accept matches nothing, Deny and Pass deny everything"
        )

    @cached_property
    def _read(self) -> Spec:
        try:
            return typed.convert(self.spec, Spec)
        except (msgspec.ValidationError, RecursionError) as error:
            field, reason = explain(str(error))
            message = f"`{'.'.join(filter(None, ('spec', field)))}`: {reason}"
            raise ValueError(message) from error

    @cached_property
    def _unknown_subject(self) -> tuple[str, ...]:
        return _first(unknown(self.spec["subject"], Pods, "spec.subject"))

    @cached_property
    def _unknown_spec(self) -> tuple[str, ...]:
        """Of fields beside the subject and the rules."""
        beside = {key: value for key, value in self.spec.items() if key not in _READ_APART}
        return _first(unknown(beside, Spec, "spec"))

    @cached_property
    def _rules(self) -> dict[PolicyType, tuple[ClusterRule, ...]]:
        return {
            PolicyType.INGRESS: self._rules_of("ingress", self._read.ingress or ()),
            PolicyType.EGRESS: self._rules_of("egress", self._read.egress or ()),
        }

    def _rules_of(
        self, section: str, rules: Iterable[IngressRule | EgressRule]
    ) -> tuple[ClusterRule, ...]:
        above = self._unknown_spec
        rows = enumerate(zip(rules, self.spec.get(section) or (), strict=True))
        return tuple(_rule(rule, raw, f"spec.{section}[{at}]", above) for at, (rule, raw) in rows)


_READ_APART = {"subject", "ingress", "egress"}


def _rule(
    rule: IngressRule | EgressRule, raw: Mapping[str, Any], path: str, above: tuple[str, ...]
) -> ClusterRule:
    """above: unknown fields of the whole policy, for which its rules fail closed, too."""
    peers: tuple[ClusterPeer, ...]
    if isinstance(rule, IngressRule):
        sources = zip(rule.from_, _paths(raw["from"], Pods, f"{path}.from"), strict=True)
        peers = tuple(ClusterPeer(row.namespaces, row.pods, unknown=bad) for row, bad in sources)
    else:
        targets = zip(rule.to, _paths(raw["to"], Destination, f"{path}.to"), strict=True)
        peers = tuple(
            ClusterPeer(row.namespaces, row.pods, row.nodes, row.networks, bad)
            for row, bad in targets
        )
    written = raw.get("protocols") or ()
    matches = zip(rule.protocols or (), _paths(written, Match, f"{path}.protocols"), strict=True)
    ports = tuple(_port(row, bad) for row, bad in matches)
    known = _first((*above, *unknown(raw, type(rule), path)))
    return ClusterRule(rule.action, rule.name, peers, ports, known)


def _port(match: Match, bad: tuple[str, ...]) -> ClusterPort:
    if match.destination_named_port is not None:
        return ClusterPort(name=match.destination_named_port, unknown=bad)
    for protocol in Protocol:
        transport = getattr(match, protocol.nft)
        if transport is None:
            continue
        ports = transport.destination_port
        if ports is None:
            return ClusterPort(protocol, unknown=bad)
        if ports.range is None:
            return ClusterPort(protocol, ports.number, ports.number, unknown=bad)
        return ClusterPort(protocol, ports.range.start, ports.range.end, unknown=bad)
    return ClusterPort(unknown=bad)


def _paths(raws: Iterable[object], kind: type[Struct], path: str) -> list[tuple[str, ...]]:
    """What is unknown in each of some items."""
    return [_first(unknown(raw, kind, f"{path}[{at}]")) for at, raw in enumerate(raws)]


def _first(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(paths, MAX_UNKNOWN))

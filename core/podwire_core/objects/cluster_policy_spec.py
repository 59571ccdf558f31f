"""The spec of a ClusterNetworkPolicy as the API spells it, its bounds, and what is unknown in it.

Only cluster_policies.py needs these; it makes of them what the rest of podwire reads.

Source: sigs.k8s.io/network-policy-api v0.2.0, apis/v1alpha2/clusternetworkpolicy_types.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from podwire_core.family import canonical_network
from podwire_core.objects.base import Port, Struct
from podwire_core.selectors import EVERYTHING, LabelSelector

MOST = 25  # rules a direction, peers and protocols a rule, networks a peer
MAX_FIELD_LENGTH = 63  # of an unknown field's name, which may be anything

Item = TypeVar("Item")
_Some = Annotated[tuple[Item, ...], msgspec.Meta(min_length=1, max_length=MOST)]
_Most = Annotated[tuple[Item, ...], msgspec.Meta(max_length=MOST)]


class Tier(StrEnum):
    """When a policy is asked: before the NetworkPolicies, or where none isolates the pod."""

    ADMIN = "Admin"
    BASELINE = "Baseline"


class Action(StrEnum):
    """What a rule does with what it matches; PASS leaves it to the next tier."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 - no password


class Choice(Struct, frozen=True):
    """Fields of which one is set; none when the one that was written is unknown."""

    def __post_init__(self) -> None:
        names = {row.name: row.encode_name for row in msgspec.structs.fields(self)}
        written = [key for name, key in names.items() if getattr(self, name) is not None]
        if len(written) > 1:
            message = f"`{written[1]}`: excludes `{written[0]}`"
            raise ValueError(message)


class NamespacedPods(Struct, frozen=True):
    """Pods by their labels, in namespaces by theirs; without namespaceSelector in all of them."""

    pod_selector: LabelSelector
    namespace_selector: LabelSelector = EVERYTHING


class Pods(Choice, frozen=True):
    """A subject, or a source."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class Destination(Choice, frozen=True):
    """networks: canonical afterwards."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: _Some[Annotated[str, msgspec.Meta(max_length=43)]] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set_canonical("networks", canonical_network)


class PortRange(Struct, frozen=True):
    """Both ends are in it."""

    start: Port
    end: Port

    def __post_init__(self) -> None:
        if self.end <= self.start:
            message = f"`end`: {self.end} is not above `start` {self.start}"
            raise ValueError(message)


class Ports(Choice, frozen=True):
    """One port, or a range."""

    number: Port | None = None
    range: PortRange | None = None


class Transport(Struct, frozen=True):
    """What is matched of a protocol: everything without destinationPort."""

    destination_port: Ports | None = None


class Match(Choice, frozen=True):
    """One item of `protocols`."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """What rules of both directions have in common."""

    action: Action
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    protocols: _Some[Match] | None = None


class IngressRule(Rule, frozen=True, kw_only=True):
    """A rule about who connects to the subject."""

    from_: _Some[Pods] = msgspec.field(name="from")


class EgressRule(Rule, frozen=True, kw_only=True):
    """A rule about whom the subject connects to."""

    to: _Some[Destination]

    def __post_init__(self) -> None:
        named = any(each.destination_named_port for each in self.protocols or ())
        if named and any(each.nodes or each.networks for each in self.to):
            raise ValueError("`protocols`: nodes and networks have no named ports")


class Spec(Struct, frozen=True):
    """All of it."""

    tier: Tier
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    subject: Pods
    ingress: _Most[IngressRule] | None = None
    egress: _Most[EgressRule] | None = None


def unknown(raw: object, hint: Any, path: str) -> Iterator[str]:
    """Paths of what `raw` says and `hint` has no field for; of a choice with no field, its own.

    hint: a type as structs annotate their fields. raw: what was decoded as such.
    """
    for kind in _kinds(hint):
        if isinstance(raw, list | tuple) and get_origin(kind) is tuple:
            for at, item in enumerate(raw):
                yield from unknown(item, get_args(kind)[0], f"{path}[{at}]")
        elif (
            isinstance(raw, Mapping) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        ):
            known = _fields(kind)
            for key, value in raw.items():
                inner = f"{path}.{key[:MAX_FIELD_LENGTH]}"
                yield from unknown(value, known[key], inner) if key in known else (inner,)
            if issubclass(kind, Choice) and all(raw.get(key) is None for key in known):
                yield path


def _kinds(hint: Any) -> tuple[Any, ...]:
    """A union's members, without what annotates them."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) is tuple or not get_args(hint):
        return (hint,)
    return tuple(kind for member in get_args(hint) for kind in _kinds(member))


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {row.encode_name: row.type for row in msgspec.structs.fields(kind)}

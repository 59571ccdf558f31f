"""230 cases after the categories of cyclonus' generator: each feature, alone and in pairs.

    category       cases   what varies
    peers            112   none; each of ten kinds of peers, in both directions; each pair of kinds
    ports             70   none; protocols, numbers, names, ranges, what nobody serves; some pairs
    conflicts         16   allow and deny of one connection, by different words or on both sides
    upstream          13   of Kubernetes' own tests, those about more than one feature
    targets            6   the policy's namespace, its podSelector
    actions            6   policies, namespaces, pods and labels come, change and go
    rules              4   no rules, and the rule that allows everything
    namespaces         2   a namespace by the label that its name is
    example            1   a named port, while namespaces and pods come and go

Most cases change one thing of BASE, a policy of x/a. A case is steps; each says the state after
it, and simulator.reaches says who reaches whom then. The diagonal is always open.

Source of the categories: mattfenwick/cyclonus (pkg/generator), now sigs.k8s.io/policy-assistant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from podwire_core.family import Family
from podwire_core.snapshot import Change
from policies.simulator import Asked, reaches
from policies.world import PLACES, PORTS, PROTOCOLS, START, Places, Spec, State, changes

INGRESS, EGRESS = "ingress", "egress"
BOTH = (INGRESS, EGRESS)
COUNTS = {
    "peers": 112, "ports": 70, "conflicts": 16, "upstream": 13, "targets": 6, "actions": 6,
    "rules": 4, "namespaces": 2, "example": 1,
}  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A name for people, tags to choose by, and the states to go through.

    tags: its category, its directions, `open` where everyone reaches everyone in each state,
    `new-pods` where VISITORS come, `block` where CIDRs are named, and others.

    The state before the first step is START.
    """

    name: str
    tags: frozenset[str]
    steps: tuple[State, ...]
    places: Places = PLACES

    def changes(self) -> Iterator[tuple[State, list[Change]]]:
        """Each step: the state after it, and the changes that bring it about."""
        before = START
        for after in self.steps:
            yield after, changes(before, after, self.places)
            before = after

    def reaches(self, state: State, asked: Asked, family: Family = Family.IPV4) -> bool:
        """What is to be: see simulator."""
        return reaches(state, asked, family, self.places)


def questions(state: State) -> Iterator[Asked]:
    """Every pod to every port of every pod, itself too."""
    for source in state.pods:
        for destination in state.pods:
            for protocol in PROTOCOLS:
                for port in PORTS:
                    yield source, destination, protocol, port


def cyclonus_cases(places: Places = PLACES, family: Family = Family.IPV4) -> tuple[Case, ...]:
    """All of them; family: of the CIDRs in them. Pods of the other family are in no CIDR then."""
    made = {
        "peers": _peers(places, family),
        "ports": _ports(),
        "conflicts": _conflicts(family),
        "upstream": _upstream(),
        "targets": _targets(),
        "actions": _actions(),
        "rules": _rules(),
        "namespaces": _namespaces(),
        "example": _example(),
    }
    return tuple(
        Case(f"{category}: {name}", _tags(category, tags, steps), tuple(steps), places)
        for category, rows in made.items()
        for name, tags, steps in rows
    )


def _tags(category: str, tags: str, steps: list[State]) -> frozenset[str]:
    blocks = {"block"} if "ipBlock" in str(steps) else set()
    return frozenset({category, *tags.split(), *blocks})


_Rows = Iterator[tuple[str, str, list[State]]]  # name, tags, the states to go through


# --------------------------------------------------------------------------- the words


def match(**labels: str) -> Row:
    return {"matchLabels": labels}


def one_of(key: str, *values: str, operator: str = "In") -> Row:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def pods(selector: Row, namespaces: Row | None = None) -> Row:
    where = {} if namespaces is None else {"namespaceSelector": namespaces}
    return {"podSelector": selector, **where}


def namespaces(selector: Row) -> Row:
    return {"namespaceSelector": selector}


def block(cidr: str, *holes: str) -> Row:
    return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}


def port(
    number: int | str | None = None, protocol: str | None = None, end: int | None = None
) -> Row:
    row = {"port": number, "protocol": protocol, "endPort": end}
    return {key: value for key, value in row.items() if value is not None}


ENDS = {INGRESS: "from", EGRESS: "to"}
A, C = match(pod="a"), match(pod="c")
B_C, A_B = one_of("pod", "b", "c"), one_of("pod", "a", "b")
X_Y, Y_Z = one_of("ns", "x", "y"), one_of("ns", "y", "z")

#: x/a is reached over TCP 80 by b and c of x and y, and reaches a and b of y and z.
BASE: dict[str, Any] = {
    "podSelector": A,
    "policyTypes": ["Ingress", "Egress"],
    INGRESS: [{"from": [pods(B_C, X_Y)], "ports": [port(80, "TCP")]}],
    EGRESS: [{"to": [pods(A_B, Y_Z)], "ports": [port(80, "TCP")]}],
}


def with_policy(spec: Spec, name: str = "x/base") -> State:
    return START.policy(name, spec)


def base(direction: str, **of_its_rule: list[Row]) -> State:
    """BASE, with the peers or ports of one direction's rule set."""
    return with_policy({**BASE, direction: [{**BASE[direction][0], **of_its_rule}]})


# ------------------------------------------------------------------------- one category each


def _peers(places: Places, family: Family) -> _Rows:
    kinds = dict(_kinds_of_peers(places, family))
    for direction in BOTH:
        yield (
            f"{direction}, nobody named",
            f"{direction} no-peers",
            [base(direction, **{ENDS[direction]: []})],
        )
        for name, peer in kinds.items():
            steps = [base(direction, **{ENDS[direction]: [peer]})]
            yield f"{direction}, {name}", f"{direction} one-peer", steps
        for one, other in combinations(kinds, 2):
            steps = [base(direction, **{ENDS[direction]: [kinds[one], kinds[other]]})]
            yield f"{direction}, {one}, or {other}", f"{direction} two-peers", steps


def _kinds_of_peers(places: Places, family: Family) -> Iterator[tuple[str, Row]]:
    yield "every pod here", pods({})
    yield "pods c here", pods(C)
    yield "every namespace", namespaces({})
    yield "every pod of every namespace", pods({}, {})
    yield "pods c of every namespace", pods(C, {})
    yield "namespace x by label", namespaces(match(ns="x"))
    yield "every pod of namespace x by label", pods({}, match(ns="x"))
    yield "pods c of namespace x by label", pods(C, match(ns="x"))
    whole, hole = _around(places.addresses["y/b"][family])
    yield "a block of addresses", block(whole)
    yield "a block without a part", block(whole, hole)


def _around(address: str) -> tuple[str, str]:
    """The eight addresses around one, and the two of them that are the address and its twin."""
    bits = ipaddress.ip_address(address).max_prefixlen
    return tuple(
        str(ipaddress.ip_network(f"{address}/{bits - more}", strict=False)) for more in (3, 1)
    )


SINGLE_PORTS = [
    *((f"{protocol or 'no protocol'}, {number or 'no port'}", port(number, protocol))
      for protocol in (None, *PROTOCOLS) for number in (None, *PORTS)),
    *((f"{protocol} by name, {number}", port(f"serve-{number}-{protocol.lower()}", protocol))
      for protocol in PROTOCOLS for number in PORTS),
    ("TCP 80 to 81", port(80, "TCP", 81)),
    ("TCP 81 to 82", port(81, "TCP", 82)),
    ("TCP 82 to 90, which nobody serves", port(82, "TCP", 90)),
    ("UDP 1 to 80", port(1, "UDP", 80)),
    ("UDP 80 to 80", port(80, "UDP", 80)),
    ("SCTP 1 to 65535", port(1, "SCTP", 65535)),
    ("a name of another protocol", port("serve-81-udp", "TCP")),
    ("a name that nobody serves", port("serve-7981-udp", "UDP")),
    ("a number that nobody serves", port(7981, "TCP")),
]  # fmt: skip
PAIRS_OF_PORTS = [
    ("TCP 80 or 81", port(80, "TCP"), port(81, "TCP")),
    ("TCP 80 or UDP 81", port(80, "TCP"), port(81, "UDP")),
    ("TCP 80 or SCTP 80", port(80, "TCP"), port(80, "SCTP")),
    ("all UDP or TCP 81", port(protocol="UDP"), port(81)),
    ("a name or a number", port("serve-80-tcp"), port(81, "TCP")),
    ("two names", port("serve-80-udp", "UDP"), port("serve-81-sctp", "SCTP")),
    ("a range or a number in it", port(80, "TCP", 81), port(81, "TCP")),
]


def _ports() -> _Rows:
    for direction in BOTH:
        yield f"{direction}, none named", f"{direction} no-ports", [base(direction, ports=[])]
        for name, row in SINGLE_PORTS:
            tags = f"{direction} one-port" + (" end-port" if "endPort" in row else "")
            yield f"{direction}, {name}", tags, [base(direction, ports=[row])]
        for name, one, other in PAIRS_OF_PORTS:
            yield (
                f"{direction}, {name}",
                f"{direction} two-ports",
                [base(direction, ports=[one, other])],
            )


def _conflicts(family: Family) -> _Rows:
    """x/b talks, y/c is talked to. A rule about somebody else denies as no rule does."""
    talker, listener = ("x", match(pod="b")), ("y", C)
    sides = {EGRESS: talker, INGRESS: listener}
    nobody = "0.0.0.0/31" if family is Family.IPV4 else "::/127"
    rules: dict[str, Callable[[str], list[Row]]] = {
        "nobody": lambda _: [],
        "everybody": lambda _: [{}],
        "every pod": lambda end: [{end: [namespaces({})]}],
        "every address": lambda end: [{end: [block(family.everything)]}],
        "addresses of nobody": lambda end: [{end: [block(nobody)]}],
        "pods of no namespace": lambda end: [{end: [namespaces(match(never="there"))]}],
    }

    def policies(*rows: tuple[str, str]) -> State:
        made = START
        for at, (direction, who) in enumerate(rows):
            namespace, subject = sides[direction]
            spec = {
                "podSelector": subject,
                "policyTypes": [direction.title()],
                direction: rules[who](ENDS[direction]),
            }
            made = made.policy(f"{namespace}/{direction}-{at}", spec)
        return made

    yield (
        "the listener allows, the talker does not",
        "",
        [policies((EGRESS, "nobody"), (INGRESS, "everybody"))],
    )
    yield (
        "the talker allows, the listener does not",
        "",
        [policies((EGRESS, "everybody"), (INGRESS, "nobody"))],
    )
    for direction in (EGRESS, INGRESS):
        for deny, allow in [
            ("nobody", "everybody"),
            ("nobody", "every pod"),
            ("nobody", "every address"),
            ("addresses of nobody", "every pod"),
            ("pods of no namespace", "every address"),
        ]:
            yield (
                f"{direction}, {deny} and {allow}",
                f"{direction} open",
                [policies((direction, deny), (direction, allow))],
            )
        for alone in ("addresses of nobody", "pods of no namespace"):
            yield f"{direction}, {alone} alone", direction, [policies((direction, alone))]


def _only(direction: str, rules: list[Row], subject: Row = A) -> Row:
    return {"podSelector": subject, "policyTypes": [direction.title()], direction: rules}


def _upstream() -> _Rows:
    deny, open_ = _only(INGRESS, [], {}), _only(INGRESS, [{}], {})
    deny_all = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], INGRESS: [], EGRESS: []}
    from_y = [namespaces(match(ns="y"))]
    yield "default deny of ingress", "ingress deny", [with_policy(deny)]
    yield "default deny of everything", "deny", [with_policy(deny_all)]
    others = pods(B_C, one_of("ns", "x", operator="NotIn"))
    yield (
        "several pods of several namespaces",
        "",
        [with_policy(_only(INGRESS, [{"from": [others]}]))],
    )
    by_81 = with_policy(_only(INGRESS, [{"from": from_y, "ports": [port(81, "TCP")]}]), "x/on-81")
    by_80 = by_81.policy("x/on-80", _only(INGRESS, [{"from": from_y, "ports": [port(80, "TCP")]}]))
    yield "policies on top of each other", "", [by_81, by_81, by_80]
    yield "allow all", "open", [with_policy(open_)]
    named = _only(INGRESS, [{"ports": [port("serve-81-tcp")]}], {})
    yield "ingress on one named port", "ingress named-port", [with_policy(named)]
    yield "a policy that changes", "", [with_policy(open_), with_policy(deny)]
    waiting = with_policy(_only(INGRESS, [{"from": [namespaces(match(ns2="new"))]}]))
    yield (
        "a namespace that changes",
        "",
        [waiting, waiting.namespace("y", {"ns": "y", "ns2": "new"})],
    )
    waiting = with_policy(_only(INGRESS, [{"from": [pods(match(pod="b", pod2="new"))]}]))
    yield "a pod that changes", "", [waiting, waiting.pod("x/b", {"pod": "b", "pod2": "new"})]
    waiting = with_policy(_only(INGRESS, [], match(target="isolated")))
    isolated = waiting.pod("x/a", {"pod": "a", "target": "isolated"})
    yield "a pod that becomes a subject", "", [waiting, isolated]
    from_b = {INGRESS: [{"from": [pods(match(pod="b"))]}]}
    together = {**BASE, **from_b, EGRESS: [{"ports": [port(80)]}]}
    yield "ingress and egress together", "", [with_policy(together)]
    to_y_a = _only(EGRESS, [{"to": [pods(A, match(ns="y"))]}])
    from_x_a = [{"from": [pods(A, match(ns="x"))]}]
    client = with_policy(to_y_a, "x/to-y-a").policy("y/at-a", _only(INGRESS, from_x_a))
    client = client.policy("y/at-b", _only(INGRESS, from_x_a, match(pod="b")))
    yield "the client's side denies what the server's allows", "conflict", [client]
    yield "a policy that goes", "deny", [with_policy(deny_all), START]


def _targets() -> _Rows:
    for ns in "xyz":
        yield f"namespace {ns}", "", [with_policy(BASE, f"{ns}/base")]
    for name, selector in {"every pod": {}, "pods a": A, "pods a and b": A_B}.items():
        yield name, "", [with_policy({**BASE, "podSelector": selector})]


def _actions() -> _Rows:
    based = with_policy(BASE)
    yield "a policy comes and goes", "", [based, START]
    changed = base(INGRESS, ports=[port("serve-81-udp", "UDP")])
    yield "a policy comes and changes", "", [based, changed]
    second = based.namespace("y-2", {"ns": "y"})
    second = second.pod("y-2/a", {"pod": "a"}).pod("y-2/b", {"pod": "b"})
    yield "a namespace comes and goes", "new-pods", [based, second, second.namespace("y-2", None)]
    waiting = base(INGRESS, **{"from": [namespaces(match(new="yes"))]})
    yield "a namespace is chosen and no more", "", [
        waiting, waiting.namespace("y", {"ns": "y", "new": "yes"}), waiting]  # fmt: skip
    yield "a pod comes and goes", "new-pods", [based, based.pod("x/d", {"pod": "d"}), based]
    waiting = base(INGRESS, **{"from": [pods(match(new="yes"), Y_Z)]})
    yield "a pod is chosen and no more", "", [
        waiting, waiting.pod("y/b", {"pod": "b", "new": "yes"}), waiting]  # fmt: skip


def _rules() -> _Rows:
    for direction in BOTH:
        for name, rules in {"no rules": [], "the rule of everything": [{}]}.items():
            yield f"{direction}, {name}", direction, [with_policy({**BASE, direction: rules})]


def _namespaces() -> _Rows:
    by_name = [namespaces(match(**{"kubernetes.io/metadata.name": "z"}))]
    for direction in BOTH:
        yield (
            f"{direction}, by its name",
            direction,
            [base(direction, **{ENDS[direction]: by_name})],
        )


def _example() -> _Rows:
    named = with_policy(_only(INGRESS, [{"ports": [port("serve-81-tcp")]}], {}))
    more = named.namespace("w", {"ns": "w"}).pod("w/a", {"pod": "a"})
    steps = [named, more, more.pod("w/a", None), named, named]
    yield "one named port, while others come and go", "new-pods", steps


CASES = cyclonus_cases()

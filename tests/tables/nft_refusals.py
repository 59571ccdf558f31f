"""What the kernel refuses, and the fake with it: transactions, and what becomes of them.

Every row starts from the same table (BASE). `refused` is the kernel's reason, or None when
the transaction must be committed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec import structs

from podwire_core.delta import Delta
from podwire_core.family import Family
from podwire_core.nft.expressions import (
    CT_MARK,
    CT_STATE,
    DPORT,
    IIFNAME,
    L4PROTO,
    OIF,
    REVERSE_OIF,
    Concat,
    concat,
    constant,
    daddr,
    dport,
    saddr,
)
from podwire_core.nft.objects import Chain, Element, Hook, Object, Rule, Set, Table
from podwire_core.nft.statements import (
    ACCEPT,
    DROP,
    AnyBit,
    Counter,
    Dnat,
    Limit,
    Log,
    Masquerade,
    Match,
    Reject,
    Update,
    Vmap,
    goto,
    jump,
)
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb, transaction

V4 = Family.IPV4
TABLE = Table(V4, "podwire-test")
VIP = concat(daddr(V4), L4PROTO, DPORT)
FRONTENDS = Set(TABLE, "frontends", VIP, "what a client dials", "verdict")
TCP_VIP = concat(daddr(V4), dport("tcp"))
ENDPOINTS = Set(TABLE, "endpoints", TCP_VIP, "slots", TCP_VIP)
CIDRS = Set(TABLE, "cidrs", saddr(V4), "networks", interval=True)
PORTS = Set(TABLE, "ports", DPORT, "ranges", interval=True)
PODS = Set(TABLE, "pods", saddr(V4), "addresses")
PICK = Chain(TABLE, "pick", (Rule((Dnat(V4, TCP_VIP, "endpoints"),), "the endpoint"),))
REFUSE = Chain(TABLE, "refuse", (Rule((Reject(),), "no"),))
PREROUTING = Chain(
    TABLE,
    "prerouting",
    (Rule((Vmap(VIP, "frontends"),), "a Service"),),
    Hook("nat", "prerouting", -100),
)
FORWARD = Chain(
    TABLE,
    "forward",
    (
        Rule((Match(CT_STATE, values=("established", "related")), ACCEPT), "answers"),
        Rule((Match(saddr(V4), set="cidrs"), Counter(), DROP), "not from there"),
        Rule((Match(L4PROTO, values=("tcp",)), Match(DPORT, set="ports"), ACCEPT), "ports"),
    ),
    Hook("filter", "forward", 0),
)
API = Element(TABLE, "frontends", ("10.96.0.1", "tcp", "80"), goto("pick"), "shop/api:http")
SLOT = Element(TABLE, "endpoints", ("10.96.0.1", "80"), ("10.244.1.5", "8080"))
TEN = Element(TABLE, "cidrs", ("10.0.0.0/8",), words="ten")
EIGHTIES = Element(TABLE, "ports", ("80-89",))
POD = Element(TABLE, "pods", ("10.244.1.5",), words="shop/api-1")

BASE: tuple[Object, ...] = (
    TABLE,
    FRONTENDS,
    ENDPOINTS,
    CIDRS,
    PORTS,
    PODS,
    PICK,
    REFUSE,
    PREROUTING,
    FORWARD,
    API,
    SLOT,
    TEN,
    EIGHTIES,
    POD,
)

CLIENT = concat(saddr(V4), constant(7))
CLIENTS = Set(TABLE, "clients", CLIENT, "who met whom", TCP_VIP, timeout=60, size=100)
MET = Element(TABLE, "clients", ("10.8.8.8", "7"), ("10.244.1.5", "8080"))
OTHER_MET = Element(TABLE, "clients", MET.parts, ("10.244.1.9", "8080"))


def remembering(name: str, data: Concat | None = TCP_VIP) -> Chain:
    """A chain that writes packets' clients into a set."""
    rule = Rule((Match(L4PROTO, values=("tcp",)), Update(CLIENT, name, 30, data)), "who came")
    return Chain(TABLE, "remember", (rule,))


FROM_A_POD = Match(IIFNAME, ("podwire*",))
JUDGE = Chain(
    TABLE,
    "judge",
    (
        Rule((AnyBit(CT_MARK, 0x20000000), goto("denied")), "cut"),
        Rule((Match(OIF, ("0",)), ACCEPT), "to the node itself"),
        Rule((FROM_A_POD, Match(REVERSE_OIF, ("0",)), goto("denied")), "a borrowed address"),
        Rule((Match(saddr(V4), set="pods", negated=True), goto("denied")), "nobody's"),
    ),
    Hook("filter", "prerouting", 0),  # before 5.19 no other hook has a way back (fib … oif)
)
DENIED = Chain(
    TABLE,
    "denied",
    (
        Rule((Limit(10, 20), Log("denied", 28791)), "tell some of them"),
        Rule((Counter(), DROP), "no"),
    ),
)


ABSENT = "No such file or directory"
EXISTS = "File exists"
OVERLAPS = "interval overlaps with an existing one"
BUSY = "Device or resource busy"
INVALID = "Invalid argument"
UNSUPPORTED = "Operation not supported"
FULL = "Too many open files in system"


def base() -> Transaction:
    """Everything of BASE in one transaction."""
    return transaction(Delta(added={each.key: each for each in BASE}))


def add(*objects: Object) -> Transaction:
    """Objects that are new."""
    return transaction(Delta(added={each.key: each for each in objects}))


def delete(*objects: Object) -> Transaction:
    """Objects that go, in this order."""
    return Transaction(tuple(Command(Verb.DELETE, Gone(each.key)) for each in objects))


@dataclass(frozen=True)
class Row:
    """One transaction, and the kernel's reason to refuse it (None: it commits)."""

    promise: str
    transaction: Transaction
    refused: str | None = None


OTHER = Table(V4, "podwire-other")

ROWS = (
    Row("adding a table twice changes nothing", add(TABLE)),
    Row("adding a chain twice changes nothing", add(Chain(TABLE, "pick"))),
    Row("adding a set twice changes nothing", add(PODS)),
    Row("adding an element twice changes nothing", add(POD)),
    Row("adding an element with its own value changes nothing", add(SLOT)),
    Row(
        "an element keeps its value until it is deleted",
        add(Element(TABLE, "endpoints", SLOT.parts, ("10.244.1.6", "8080"))),
        EXISTS,
    ),
    Row(
        "delete and add replace an element in one transaction",
        transaction(
            Delta(changed={SLOT.key: Element(TABLE, "endpoints", SLOT.parts, ("10.1.1.1", "1"))})
        ),
    ),
    Row(
        "an absent element cannot be deleted", delete(Element(TABLE, "pods", ("9.9.9.9",))), ABSENT
    ),
    Row("an absent chain cannot be deleted", delete(Chain(TABLE, "nowhere")), ABSENT),
    Row("an absent set cannot be deleted", delete(Set(TABLE, "nothing", DPORT)), ABSENT),
    Row("an absent table cannot be deleted", delete(OTHER), ABSENT),
    Row("a chain needs its table", add(Chain(OTHER, "c")), ABSENT),
    Row("a set needs its table", add(Set(OTHER, "s", DPORT)), ABSENT),
    Row("an element needs its set", add(Element(TABLE, "nothing", ("1",))), ABSENT),
    Row(
        "a verdict needs its chain",
        add(Element(TABLE, "frontends", ("1.1.1.1", "tcp", "1"), goto("no"))),
        ABSENT,
    ),
    Row("a jump needs its chain", add(Chain(TABLE, "c", (Rule((jump("nowhere"),)),))), ABSENT),
    Row(
        "a rule needs its set",
        add(Chain(TABLE, "c", (Rule((Match(saddr(V4), set="nothing"), DROP)),))),
        ABSENT,
    ),
    Row("a rule needs its map", add(Chain(TABLE, "c", (Rule((Vmap(VIP, "nothing"),)),))), ABSENT),
    Row("a chain that an element leads to stays", delete(PICK), BUSY),
    Row("a chain that nothing leads to goes", delete(API, PICK)),
    Row("a set that a rule looks into stays", delete(CIDRS), BUSY),
    Row("a set that no rule looks into goes", delete(PODS)),
    Row("a base chain goes with its rules", delete(FORWARD)),
    Row("a table goes with all that is in it", delete(TABLE)),
    Row(
        "an interval inside another is refused",
        add(Element(TABLE, "cidrs", ("10.1.0.0/16",))),
        OVERLAPS,
    ),
    Row(
        "an interval around another is refused", add(Element(TABLE, "ports", ("70-200",))), OVERLAPS
    ),
    Row(
        "an interval beside another is taken",
        add(Element(TABLE, "ports", ("90-99",)), Element(TABLE, "cidrs", ("11.0.0.0/8",))),
    ),
    Row(
        "single values stand among intervals",
        add(Element(TABLE, "ports", ("443",)), Element(TABLE, "cidrs", ("8.8.8.8",))),
    ),
    Row(
        "dnat is refused where no packet can be changed",
        add(Chain(TABLE, "late", (Rule((jump("pick"),)),), Hook("filter", "forward", 5))),
        UNSUPPORTED,
    ),
    Row(
        "a dnat rule may come later than its map",
        add(Chain(TABLE, "later", (Rule((Dnat(V4, TCP_VIP, "endpoints"),)),))),
    ),
    Row(
        "masquerade is refused before routing",
        add(Chain(TABLE, "early", (Rule((Masquerade(),)),), Hook("nat", "prerouting", -90))),
        UNSUPPORTED,
    ),
    Row(
        "masquerade is taken after routing",
        add(Chain(TABLE, "postrouting", (Rule((Masquerade(),)),), Hook("nat", "postrouting", 100))),
    ),
    Row(
        "a rule needs its map of ports",
        add(
            Set(TABLE, "addresses", TCP_VIP, "", daddr(V4)),
            Chain(TABLE, "c", (Rule((Dnat(V4, TCP_VIP, "addresses", ports="nothing"),)),)),
        ),
        ABSENT,
    ),
    Row("packets may fill a dynamic map", add(CLIENTS, remembering("clients"))),
    Row("an update needs its set", add(remembering("nothing")), ABSENT),
    Row(
        "packets fill no set that is not dynamic",
        add(replace(CLIENTS, timeout=0), remembering("clients")),
        UNSUPPORTED,
    ),
    Row(
        "an update of a map needs a value",
        add(CLIENTS, remembering("clients", data=None)),
        INVALID,
    ),
    Row(
        "a set that a rule fills stays",
        Transaction((*add(CLIENTS, remembering("clients")).commands, *delete(CLIENTS).commands)),
        BUSY,
    ),
    Row(
        "an entry keeps its value like any element",
        Transaction((*add(CLIENTS, MET).commands, *add(OTHER_MET).commands)),
        EXISTS,
    ),
    Row(
        "a set takes as many elements as its size",
        add(replace(CLIENTS, size=1), MET, structs.replace(MET, parts=("10.9.9.9", "7"))),
        FULL,
    ),
    Row("what is denied may be logged, so many a second", add(DENIED, JUDGE)),
    Row(
        "a refused command undoes those before it",
        Transaction((*add(Chain(TABLE, "half")).commands, *delete(OTHER).commands)),
        ABSENT,
    ),
)

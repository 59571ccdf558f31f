"""Sets of every type that podwire declares, and strategies that fill them with odd elements."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st
from msgspec import structs

from podwire_core.family import Family, spelled
from podwire_core.nft.expressions import DPORT, L4PROTO, Numgen, concat, daddr, dport, saddr
from podwire_core.nft.objects import Element, Set, Table
from podwire_core.nft.statements import ACCEPT, DROP, RETURN, Verdict, goto, jump


def sets(family: Family) -> dict[str, Set]:
    """One set of every type that the proxy, the policies and masquerading declare, and others."""
    table = Table(family, "podwire-test")
    backend = concat(daddr(family), dport("tcp"))
    shapes: dict[str, dict[str, Any]] = {
        "address": {"typeof": daddr(family)},
        "address pod": {"typeof": saddr(family), "data": "verdict"},
        "address address": {"typeof": concat(saddr(family), daddr(family))},
        "proto port": {"typeof": concat(L4PROTO, DPORT), "data": "verdict"},
        "address proto port": {"typeof": concat(daddr(family), L4PROTO, DPORT), "data": "verdict"},
        "address port number": {
            "typeof": concat(daddr(family), dport("tcp"), Numgen(9)),
            "data": backend,
        },
        "port number": {"typeof": concat(dport("udp"), Numgen(2)), "data": backend},
        "number": {"typeof": Numgen(7), "data": daddr(family)},
        "four": {"typeof": concat(saddr(family), DPORT, L4PROTO, daddr(family))},
        "addresses": {"typeof": saddr(family), "interval": True},
        "addresses to": {"typeof": saddr(family), "interval": True, "data": backend},
        "ports": {"typeof": DPORT, "interval": True},
        "ports pod": {"typeof": DPORT, "interval": True, "data": "verdict"},
        "addresses ports": {"typeof": concat(daddr(family), dport("tcp")), "interval": True},
    }
    return {
        words: Set(table, words.replace(" ", "-"), why=words, **shape)
        for words, shape in shapes.items()
    }


def edges(bits: int) -> st.SearchStrategy[int]:
    """Numbers of so many bits, mostly those beside which things go wrong."""
    near = [n + d for n in (0, 1 << bits - 1, 1 << bits) for d in range(-3, 4)]
    some = st.sampled_from([n for n in near if 0 <= n < 1 << bits])
    return st.one_of(some, st.integers(0, (1 << bits) - 1))


def address(family: Family, number: int) -> str:
    packed = number.to_bytes(family.bits // 8, "big")
    return spelled(ip_address(packed))


def one(family: Family, word: str) -> st.SearchStrategy[str]:
    """One part of a key or value."""
    if word == "address":
        return edges(family.bits).map(lambda n: address(family, n))
    if word == "proto":
        return st.sampled_from(["tcp", "udp", "sctp", "icmp", "ipv6-icmp", "esp", "253"])
    return edges(16 if word == "port" else 31).map(str)


@st.composite
def spans(draw: st.DrawFn, family: Family, word: str) -> list[str]:
    """Disjoint ranges, some of one value, some of everything, some side by side."""
    bits = 16 if word == "ports" else family.bits
    bounds = sorted(draw(st.sets(edges(bits), max_size=16)))
    ends = [(first, last) for first, last in zip(bounds[::2], bounds[1::2], strict=False)]
    ends += [(each, each) for each in bounds[len(ends) * 2 :]]
    if ends and draw(st.booleans()):
        ends.append((ends[-1][1] + 1, min(ends[-1][1] + draw(st.integers(1, 9)), (1 << bits) - 1)))
    spell = str if word == "ports" else lambda n: address(family, n)
    return [spell(a) if a == b else f"{spell(a)}-{spell(b)}" for a, b in ends if a <= b < 1 << bits]


COMMENTS = st.one_of(st.just(""), st.text(st.characters(codec="ascii"), max_size=140))
VERDICTS: list[Verdict] = [goto("there"), jump("there"), ACCEPT, DROP, RETURN]


@st.composite
def filled(draw: st.DrawFn, family: Family, words: str) -> list[Element]:
    """Elements for one of sets()."""
    home = sets(family)[words]
    if words == "addresses ports":
        blocks = draw(spans(family, "addresses"))
        keys = [(each, ports) for each in blocks for ports in draw(spans(family, "ports"))[:2]]
    elif home.interval:
        keys = [(each,) for each in draw(spans(family, words.split(maxsplit=1)[0]))]
    else:
        parts = ["address", "port", "proto", "address"] if words == "four" else words.split()
        parts = [part for part in parts if part != "pod"]
        keys = sorted(draw(st.sets(st.tuples(*(one(family, part) for part in parts)), max_size=9)))
    made = [Element(home.table, home.name, key, words=draw(COMMENTS)) for key in keys]
    if not home.data:
        return made
    # nft 1.0.6 refuses a chain in a map of intervals that is as new as the chain.
    value: st.SearchStrategy[Any] = st.sampled_from(VERDICTS[2 * home.interval :])
    if home.data != "verdict":
        value = st.tuples(one(family, "address"), one(family, "port"))
        value = value.map(lambda pair: pair if words != "number" else pair[:1])
    return [structs.replace(each, data=draw(value)) for each in made]

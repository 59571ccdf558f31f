"""Which endpoints of which slices serve a port: the truth table of endpoints.py.

An endpoint is a word: a letter, upper case where it is on our node, and what its slice says of it.

    a         ready, elsewhere          A         ready, here
    a!r       not ready, not serving    a!rs      not ready, serving
    a!t       terminating, serving      a!T       terminating, serves no more
    a!        no condition is set       a!?       no nodeName
    a@x,y     a hint for zones          a#here    a hint for nodes

We are node `here` in zone `x`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from proxy_stage import read

from podwire_core.family import Family
from podwire_core.objects import EndpointSlice, ServicePort
from podwire_proxy.endpoints import Endpoints, Place, checked, endpoints_of

HERE = Place("here", "x", ("192.168.77.1",))
HTTP = ServicePort(80, "http")
PORT = {"name": "http", "port": 8080}
WORD = re.compile(r"(?P<pod>\w)(?P<state>!\??\w*)?(@(?P<zones>[\w,]+))?(#(?P<nodes>[\w,]+))?\Z")
CONDITIONS: dict[str | None, Any] = {
    None: {"ready": True, "serving": True, "terminating": False},
    "!": {},
    "!?": {},
    "!r": {"ready": False, "serving": False, "terminating": False},
    "!rs": {"ready": False, "serving": True},
    "!t": {"ready": False, "serving": True, "terminating": True},
    "!T": {"ready": False, "serving": False, "terminating": True},
    "!tu": {"ready": False, "terminating": True},
    "!p": {"ready": True, "serving": False, "terminating": True},
}


def endpoint(word: str, prefix: str = "10.244.0.") -> dict[str, Any]:
    found = WORD.match(word)
    assert found, word
    pod, state = found["pod"], found["state"]
    made: dict[str, Any] = {
        "addresses": [address(pod, prefix)],
        "conditions": CONDITIONS[state],
        "nodeName": "here" if pod.isupper() else "elsewhere",
    }
    if state == "!?":
        del made["nodeName"]
    hints = {
        f"for{kind.title()}": [{"name": each} for each in found[kind].split(",")]
        for kind in ("zones", "nodes")
        if found[kind]
    }
    return {**made, "hints": hints} if hints else made


def address(pod: str, prefix: str = "10.244.0.") -> str:
    return f"{prefix}{ord(pod.lower()) - ord('a') + 1}"


def slice_of(words: str, name: str = "web-1", **fields: Any) -> EndpointSlice:
    document = {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [PORT],
        "endpoints": [endpoint(word) for word in words.split()],
        **fields,
    }
    return read(EndpointSlice, document)


def of(
    *slices: EndpointSlice,
    port: ServicePort = HTTP,
    family: Family = Family.IPV4,
    place: Place = HERE,
) -> Endpoints:
    return endpoints_of(map(checked, slices), port, family, place)


def letters(backends: Any) -> str:
    """Backends by their letters, in order."""
    addresses = sorted(getattr(each, "address", each) for each in backends)
    return "".join(chr(ord("a") + int(each.rpartition(".")[2]) - 1) for each in addresses)


#: Words, then who is in the cluster's list, who in this node's, and who serves.
TABLE = [
    ("", "", "", "", "no endpoint serves no one"),
    ("a B", "ab", "b", "ab", "ready endpoints serve, those here the local list"),
    ("a! b!r", "a", "", "a", "what no condition says is ready and serving"),
    ("A!", "a", "a", "a", "the same here"),
    ("a!r B!r", "", "", "", "what is not ready serves no one"),
    ("a!rs B!rs", "", "", "ab", "serving alone is not enough, but keeps UDP flows"),
    ("a!t B", "b", "b", "ab", "an ending endpoint is left out while one is ready"),
    ("a!t B!t", "ab", "b", "ab", "ending endpoints serve where none is ready"),
    ("a!T B!t", "b", "b", "b", "of ending endpoints, those that still serve"),
    ("a!T B!T", "", "", "", "an ending endpoint that serves no more is none"),
    ("a!tu", "a", "", "a", "an ending endpoint that says nothing serves"),
    ("a B!t", "a", "b", "ab", "the local list falls back alone"),
    ("a!t B", "b", "b", "ab", "the local list does not fall back with the other"),
    ("A!r b!t", "b", "", "b", "the cluster's list falls back alone"),
    ("A!p b", "ab", "a", "ab", "ready counts whatever else is said (publishNotReadyAddresses)"),
    ("a!? B", "ab", "b", "ab", "an endpoint without nodeName is not here"),
    ("a@x b@y", "a", "", "ab", "hints for our zone are followed"),
    ("A@y b@x", "b", "a", "ab", "the local list knows no hints"),
    ("a@y b@y", "ab", "", "ab", "hints that name only other zones are not followed"),
    ("a@x b", "ab", "", "ab", "one endpoint without a hint, and none is followed"),
    ("a@x,y b@y", "a", "", "ab", "an endpoint may be meant for several zones"),
    ("a@x b!r", "a", "", "a", "endpoints that are not ready need no hint"),
    ("a!t@x b!t@y", "ab", "", "ab", "ending endpoints serve whatever their hints"),
    ("a#here b#there", "a", "", "ab", "hints for our node are followed"),
    ("A#here B#there", "a", "ab", "ab", "not by the local list"),
    ("a@x#there b@y#there", "a", "", "ab", "no hint for our node, but for our zone"),
    ("a@y#here b@x#there", "a", "", "ab", "a node's hint goes before a zone's"),
    ("a@x#here b@x", "ab", "", "ab", "node hints that are not complete leave it to zone hints"),
    ("a@y#here b@x", "b", "", "ab", "which then decide"),
]


@pytest.mark.parametrize(
    ("words", "cluster", "local", "serving"),
    [row[:4] for row in TABLE],
    ids=[row[4] for row in TABLE],
)
def test_who_serves(words: str, cluster: str, local: str, serving: str) -> None:
    found = of(slice_of(words))
    assert letters(found.cluster) == cluster
    assert letters(found.local) == local
    assert letters(found.serving) == serving


@pytest.mark.parametrize(("one", "other"), [("a", "B"), ("a@x", "b@y"), ("A!t", "b!r"), ("a", "a")])
def test_slices_add_up_in_any_order(one: str, other: str) -> None:
    first, second = slice_of(one, "web-1"), slice_of(other, "web-2")
    assert of(first, second) == of(second, first)
    assert of(first, second) == of(slice_of(f"{one} {other}"))


@pytest.mark.parametrize(
    ("promise", "one", "other", "same_as"),
    [
        ("an endpoint of two slices is one", "a", "a", "a"),
        ("local wins", "a", "A", "A"),
        ("local wins over a slice that does not say", "a!?", "A", "A"),
        ("the ready copy counts", "a!r", "a", "a"),
        ("the ready copy counts, and the other says where it is", "A!r", "a", "A"),
        ("of two copies that are not ready, the one that still serves", "a!T", "a!t", "a!t"),
        ("one that moves while it ends stays", "A!t", "A!T", "A!t"),
        ("nothing that serves less hides one that keeps UDP flows", "a!r", "a!rs", "a!rs"),
    ],
)
def test_duplicates_across_slices(promise: str, one: str, other: str, same_as: str) -> None:
    expected = of(slice_of(same_as))
    for first, second in ((one, other), (other, one)):
        found = of(slice_of(first, "web-1"), slice_of(second, "web-2"))
        assert found[:3] == expected[:3], promise


def test_an_endpoint_may_reach_itself_through_its_own_node_or_where_no_one_says_which() -> None:
    assert letters(of(slice_of("A b c!? D!r")).near) == "acd"


def test_who_does_not_know_its_zone_follows_no_zone_hint() -> None:
    assert letters(of(slice_of("a@x b@y"), place=Place("here")).cluster) == "ab"


def test_who_has_no_name_has_no_local_endpoint_and_follows_no_node_hint() -> None:
    words = slice_of("A#here b#there")
    found = of(words, place=Place(""))
    assert letters(found.cluster) == "ab"
    assert letters(found.local) == ""


def test_a_node_name_is_compared_as_it_is() -> None:
    assert letters(of(slice_of("A"), place=Place("HERE")).local) == ""


@pytest.mark.parametrize(
    ("promise", "fields"),
    [
        ("a slice of names", {"addressType": "FQDN", "endpoints": [{"addresses": ["x.org"]}]}),
        ("a slice of the other family", {"addressType": "IPv6", "endpoints": []}),
        ("an address of the other family", {"endpoints": [{"addresses": ["fd00::1"]}]}),
        ("an endpoint without address", {"endpoints": [{"addresses": []}]}),
        ("no endpoints", {"endpoints": None}),
        ("no ports", {"ports": None}),
        ("an empty list of ports", {"ports": []}),
        ("a port without number", {"ports": [{"name": "http"}]}),
        ("a port of another name", {"ports": [{"name": "https", "port": 8080}]}),
        ("a port without name", {"ports": [{"port": 8080}]}),
        ("a port of another protocol", {"ports": [{**PORT, "protocol": "UDP"}]}),
        ("a port of the Service's own number", {"ports": [{"name": "", "port": 80}]}),
    ],
)
def test_what_gives_no_endpoint(promise: str, fields: dict[str, Any]) -> None:
    assert of(slice_of("a B", **fields)) == Endpoints(), promise


def test_a_port_whose_name_is_not_there_has_the_empty_name() -> None:
    nameless = ServicePort(80)
    for ports in ([{"port": 8080}], [{"name": None, "port": 8080}], [{"name": "", "port": 8080}]):
        assert letters(of(slice_of("a", ports=ports), port=nameless).cluster) == "a"


def test_only_an_endpoint_s_first_address_counts() -> None:
    words = slice_of("", endpoints=[{"addresses": ["10.244.0.1", "10.244.0.2"]}])
    assert letters(of(words).cluster) == "a"


def test_one_name_may_stand_for_several_numbers() -> None:
    found = of(slice_of("a", ports=[PORT, {**PORT, "port": 9090}]))
    assert sorted(each.port for each in found.cluster) == [8080, 9090]


def test_slices_may_give_one_address_different_numbers() -> None:
    other = slice_of("a", "web-2", ports=[{**PORT, "port": 9090}])
    found = of(slice_of("a"), other)
    assert sorted(found.cluster) == [("10.244.0.1", 8080), ("10.244.0.1", 9090)]


def test_each_family_has_its_own_endpoints() -> None:
    six = slice_of("", addressType="IPv6", endpoints=[endpoint("B", "fd00::")])
    assert {each.address for each in of(slice_of("a"), six, family=Family.IPV6).local} == {
        "fd00::2"
    }
    assert letters(of(slice_of("a"), six).cluster) == "a"


def test_hints_are_judged_in_each_family_alone() -> None:
    six = slice_of("", addressType="IPv6", endpoints=[endpoint("b", "fd00::")])
    assert letters(of(slice_of("a@x c@y"), six).cluster) == "a"

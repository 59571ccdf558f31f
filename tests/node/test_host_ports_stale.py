"""Which conversations would go on to whoever had a hostPort before, and what localhost needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire_cni.attachment import Attachment
from podwire_core.conntrack import Entry
from podwire_core.conntrack.entry import packed
from podwire_core.family import Family, family_of
from podwire_node.host_ports import Forward
from podwire_node.host_ports.localhost import links_that_route_localhost, route_localhost
from podwire_node.host_ports.stale import PROTOCOLS, stale

V4, V6 = Family.IPV4, Family.IPV6
HERE = {V4: "192.168.77.1", V6: "fd00:77::1"}
OLD = {V4: "10.244.1.5", V6: "fd00:1::5"}
NEW = {V4: "10.244.1.6", V6: "fd00:1::6"}
LOCAL = frozenset(packed(each, family) for family, each in HERE.items())


def entry(
    dialled: str, port: int, server: str = "", server_port: int = 0, protocol: str = "udp"
) -> Entry:
    """What someone sends to an address and port; without a server, it is answered there."""
    family = family_of(dialled)
    client = packed("192.168.77.9" if family is V4 else "fd00:77::9", family)
    at = packed(dialled, family)
    answers = (packed(server, family), server_port) if server else (at, port)
    return Entry(family, PROTOCOLS.get(protocol, 6), client, 40000, at, port, *answers)


def forward(
    family: Family = V4, address: str = "", protocol: str = "udp", old: bool = False
) -> Forward:
    return Forward(family, address, protocol, 9000, (OLD if old else NEW)[family], 53)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    ("promise", "server", "server_port", "found"),
    [
        ("the pod that serves now", NEW, 53, False),
        ("the pod that had it before", OLD, 53, True),
        ("the node itself", {}, 0, True),
        ("another port of the pod", NEW, 54, True),
    ],
)
@pytest.mark.parametrize("with_host_ip", [False, True])
def test_who_answers_what_has_come(
    family: Family,
    promise: str,
    server: dict[Family, str],
    server_port: int,
    found: bool,
    with_host_ip: bool,
) -> None:
    known = entry(HERE[family], 9000, server.get(family, ""), server_port)
    come = forward(family, HERE[family] if with_host_ip else "")
    assert list(stale([known], LOCAL, come=[come])) == [known] * found, promise


@pytest.mark.parametrize(
    ("promise", "known"),
    [
        ("another port", entry(HERE[V4], 9001)),
        ("the same port of someone else", entry("9.9.9.9", 9000)),
        ("the same port of another protocol", entry(HERE[V4], 9000, protocol="sctp")),
        ("TCP, which asks anew", entry(HERE[V4], 9000, protocol="tcp")),
        ("the other family", entry(HERE[V6], 9000)),
    ],
)
def test_what_is_not_its_place_stays(promise: str, known: Entry) -> None:
    for changed in ({"come": [forward()]}, {"gone": [forward()]}):
        assert not list(stale([known], LOCAL, **changed)), promise


def test_all_of_localhost_is_the_nodes() -> None:
    known = entry("127.0.0.53", 9000)
    assert list(stale([known], LOCAL, come=[forward()])) == [known]


def test_what_the_pod_that_goes_answered_is_forgotten_and_nothing_else() -> None:
    gone, others = entry(HERE[V4], 9000, OLD[V4], 53), entry(HERE[V4], 9000)
    assert list(stale([gone, others], LOCAL, gone=[forward(old=True)])) == [gone]


def test_one_that_comes_in_the_place_of_one_that_goes_says_who_serves() -> None:
    before, now = entry(HERE[V4], 9000, OLD[V4], 53), entry(HERE[V4], 9000, NEW[V4], 53)
    found = stale([before, now], LOCAL, come=[forward()], gone=[forward(old=True)])
    assert list(found) == [before]


def test_a_host_ip_goes_before_any_address() -> None:
    """A conversation with it is served by its pod, and with another address by the other pod."""
    other = Forward(V4, "", "udp", 9000, OLD[V4], 53)
    mine = forward(V4, HERE[V4])
    entries = [entry(HERE[V4], 9000, NEW[V4], 53), entry("127.0.0.1", 9000, OLD[V4], 53)]
    assert not list(stale(entries, LOCAL, come=[mine, other]))


# ------------------------------------------------------------------------------- localhost


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """As the kernel shows the parameters of links."""
    for name in ("all", "lo", LINK, "pwother", "eth0"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "route_localnet").write_text("1\n" if name in {"eth0", "pwother"} else "0\n")
    return tmp_path


LINK = Attachment("podwire", "c", "eth0").host_name


def test_localhost_is_routed_by_one_link_and_back(links: Path) -> None:
    assert route_localhost(LINK, links=links)
    assert list(links_that_route_localhost(links)) == [LINK]
    assert route_localhost(LINK, allowed=False, links=links)
    assert list(links_that_route_localhost(links)) == []
    assert (links / "eth0/route_localnet").read_text() == "1\n", "someone else's"


def test_a_link_that_is_gone_is_no_error(links: Path) -> None:
    assert not route_localhost("pwgone", links=links)

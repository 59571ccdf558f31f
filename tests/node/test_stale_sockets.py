"""Which sockets are stale, from rows of `reverse` and who serves each frontend."""

from __future__ import annotations

from podwire_core.family import Family
from podwire_core.objects import Protocol
from podwire_core.sock_diag import TCP, UDP, mapped
from podwire_ebpf.records import Reverse, ReverseKey
from podwire_node.stale.backlog import Backlog
from podwire_node.stale.in_vain import TWICE, InVain
from podwire_node.stale.plan import Frontends
from podwire_node.stale.socket_plan import stale_sockets
from podwire_proxy.frontend import Backend, Frontend

V4 = Family.IPV4
COOKIE = 7
A, B = Backend("10.244.1.1", 5353), Backend("fd00:10:244::2", 5353)
DNS = Frontend(V4, "10.96.0.10", Protocol.UDP, 53)
DNS_TCP = Frontend(V4, "10.96.0.10", Protocol.TCP, 53)
NODEPORT = Frontend(V4, "", Protocol.UDP, 30053)
OTHER_FAMILY = Frontend(Family.IPV6, "", Protocol.UDP, 30053)
SENT_TO_A = ReverseKey(COOKIE, *A)
FOUND = {(COOKIE, mapped(A.address), A.port)}


def stale(
    dialled: tuple[str, int], frontends: Frontends, protocol: int = UDP, *, unknown: bool = False
) -> bool:
    found = stale_sockets({SENT_TO_A: Reverse(*dialled)}, frontends, unknown=unknown)
    assert found.get(protocol) in (None, set(), FOUND)
    return bool(found.get(protocol))


def test_who_was_sent_to_an_endpoint_that_serves_stays() -> None:
    assert not stale(("10.96.0.10", 53), {DNS: frozenset({A, B})})


def test_who_was_sent_to_an_endpoint_that_went_is_stale() -> None:
    assert stale(("10.96.0.10", 53), {DNS: frozenset({B})})


def test_where_datagrams_of_no_peer_go_makes_nobody_stale() -> None:
    rows = {ReverseKey(COOKIE, "10.96.0.10", 53, forward=True): Reverse(*A)}
    assert not any(stale_sockets(rows, {DNS: frozenset({B})}, unknown=True).values())


def test_another_port_is_another_endpoint() -> None:
    assert stale(("10.96.0.10", 53), {DNS: frozenset({A._replace(port=53)})})


def test_a_nodeport_is_its_own_at_whatever_address_it_was_dialled() -> None:
    for address in ("192.168.7.1", "127.0.0.1"):
        assert stale((address, 30053), {NODEPORT: frozenset({B})})
        assert not stale((address, 30053), {NODEPORT: frozenset({A})})


def test_a_nodeport_of_the_other_family_is_another() -> None:
    frontends = {NODEPORT: frozenset({A}), OTHER_FAMILY: frozenset({B})}
    assert not stale(("192.168.7.1", 30053), frontends)


def test_the_protocol_counts() -> None:
    frontends = {DNS: frozenset({A}), DNS_TCP: frozenset({B})}
    assert not stale(("10.96.0.10", 53), frontends)
    assert stale(("10.96.0.10", 53), frontends, TCP)


def test_a_protocol_without_frontends_is_left_alone() -> None:
    assert not stale(("10.96.0.10", 53), {DNS: frozenset()}, TCP)


def test_what_dialled_no_frontend_that_is_known_is_stale_at_the_start_alone() -> None:
    frontends = {NODEPORT: frozenset({A})}
    assert not stale(("10.96.0.10", 53), frontends)
    assert stale(("10.96.0.10", 53), frontends, unknown=True)


def test_what_dialled_its_peer_itself_since_is_never_stale() -> None:
    assert not stale(("10.96.0.10", 0), {DNS: frozenset()}, unknown=True)


class Looks:
    """Looks for the socket that was sent to A, which is never found."""

    def __init__(self) -> None:
        self._backlog, self._in_vain = Backlog(), InVain()

    def at(self, *serving: Backend, meanwhile: Backend | None = None) -> bool:
        """Whether it is looked for, now that these serve; meanwhile: another did, for a moment."""
        if meanwhile:
            self._backlog.put({DNS: frozenset({meanwhile})})
        self._backlog.put({DNS: frozenset(serving)})
        step = self._backlog.take()
        self._in_vain.heed(step)
        rows = {SENT_TO_A: Reverse("10.96.0.10", 53)}
        sought = self._in_vain.without(stale_sockets(rows, step.after, unknown=False))
        self._in_vain.note(sought)
        return bool(sought[UDP])


def test_a_row_of_nobody_is_looked_for_twice_and_no_more() -> None:
    looks = Looks()
    assert looks.at(B)  # the first look knows nothing, and finds what it will not find again
    assert [looks.at(), looks.at(B), looks.at()] == [True, False, False]


def test_an_endpoint_that_came_back_may_have_been_dialled() -> None:
    looks = Looks()
    assert [looks.at(), looks.at(B), looks.at()] == [True, True, False]
    assert [looks.at(A), looks.at(B)] == [False, True]


def test_an_endpoint_that_came_and_went_unseen_may_have_been_dialled() -> None:
    looks = Looks()
    assert [looks.at(), looks.at(B), looks.at()] == [True, True, False]
    assert looks.at(B, meanwhile=A)


def test_a_row_that_went_is_forgotten() -> None:
    in_vain = InVain()
    left = {UDP: {(COOKIE, mapped(A.address), A.port)}}
    for _ in range(TWICE):
        in_vain.note(left)
    assert in_vain.without(left) == {UDP: set()}
    assert in_vain.without({UDP: set()}) == {UDP: set()}
    assert in_vain.without(left) == left

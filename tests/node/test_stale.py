"""Which UDP connections are stale, and when the table has to be read at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwire_core.conntrack import UDP, Entry
from podwire_core.conntrack.entry import packed
from podwire_core.family import Family, family_of
from podwire_core.objects import Protocol
from podwire_node.stale.backlog import Backlog
from podwire_node.stale.plan import Frontends, plan
from podwire_proxy.frontend import Backend, Frontend

V4 = Family.IPV4
TCP = 6
NODE, VIP, POD_A, POD_B = "192.168.7.1", "10.96.0.10", "10.244.1.1", "10.244.1.2"
LOCAL = frozenset({packed(NODE, V4), packed("fd07::1", Family.IPV6)})
A, B = Backend(POD_A, 5353), Backend(POD_B, 5353)
DNS = Frontend(V4, VIP, Protocol.UDP, 53)
NODEPORT = Frontend(V4, "", Protocol.UDP, 30053)


def entry(dialled: tuple[str, int], served: tuple[str, int], protocol: int = UDP) -> Entry:
    family = family_of(dialled[0])
    client = packed("10.244.1.9" if family is V4 else "fd00::9", family)
    to, server = packed(dialled[0], family), packed(served[0], family)
    return Entry(family, protocol, client, 40000, to, dialled[1], server, served[1])


def is_stale(each: Entry, frontends: Frontends) -> bool:
    return list(plan([each], frontends, LOCAL)) == [each]


def test_who_is_served_by_an_endpoint_stays() -> None:
    assert not is_stale(entry((VIP, 53), B), {DNS: frozenset({A, B})})


def test_who_is_served_by_an_endpoint_that_is_gone_is_stale() -> None:
    assert is_stale(entry((VIP, 53), A), {DNS: frozenset({B})})


def test_another_port_of_an_endpoint_is_another_endpoint() -> None:
    assert is_stale(entry((VIP, 53), (POD_A, 53)), {DNS: frozenset({A})})


def test_without_endpoints_all_are_stale() -> None:
    assert is_stale(entry((VIP, 53), A), {DNS: frozenset()})


def test_who_came_before_the_first_endpoint_is_stale() -> None:
    assert is_stale(entry((VIP, 53), (VIP, 53)), {DNS: frozenset({A})})
    assert is_stale(entry((NODE, 30053), (NODE, 30053)), {NODEPORT: frozenset({A})})


def test_tcp_is_never_stale() -> None:
    tcp = Frontend(V4, VIP, Protocol.TCP, 53)
    assert not is_stale(entry((VIP, 53), A, TCP), {DNS: frozenset(), tcp: frozenset()})
    assert not is_stale(entry((VIP, 53), A), {tcp: frozenset()})


def test_what_no_frontend_was_dialled_for_is_no_business_of_ours() -> None:
    frontends: Frontends = {DNS: frozenset(), NODEPORT: frozenset()}
    assert not is_stale(entry((VIP, 54), A), frontends)
    assert not is_stale(entry(("1.1.1.1", 53), A), frontends)


def test_a_pod_that_happens_to_listen_at_a_nodeports_number_keeps_its_clients() -> None:
    assert not is_stale(entry((POD_A, 30053), (POD_A, 30053)), {NODEPORT: frozenset({B})})


def test_the_same_port_where_no_nodeport_answers_is_another_s() -> None:
    assert not is_stale(entry(("192.168.7.99", 30053), A), {NODEPORT: frozenset({B})})


def test_a_vip_of_the_nodeports_number_is_judged_by_its_own_endpoints() -> None:
    same = Frontend(V4, VIP, Protocol.UDP, 30053)
    frontends: Frontends = {NODEPORT: frozenset({B}), same: frozenset({A})}
    assert not is_stale(entry((VIP, 30053), A), frontends)
    assert is_stale(entry((VIP, 30053), B), frontends)


def test_the_same_nodeport_of_the_other_family_is_another_frontend() -> None:
    assert not is_stale(entry(("fd07::1", 30053), ("fd00::1", 53)), {NODEPORT: frozenset({A})})


def test_a_node_that_serves_its_own_nodeport_untranslated_stays() -> None:
    own = Backend(NODE, 30053)
    assert not is_stale(entry((NODE, 30053), own), {NODEPORT: frozenset({own})})


ADDRESSES = st.sampled_from([NODE, VIP, POD_A, POD_B, "fd07::1", "fd00:10:96::a", "fd00::1"])
NUMBERS = st.sampled_from([53, 5353, 30053])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    dialled = draw(ADDRESSES)
    family = family_of(dialled)
    served = draw(ADDRESSES.filter(lambda each: family_of(each) is family))
    protocol = draw(st.sampled_from([UDP, TCP, 132]))
    return entry((dialled, draw(NUMBERS)), (served, draw(NUMBERS)), protocol)


@st.composite
def frontends(draw: st.DrawFn) -> Frontend:
    address = draw(st.one_of(st.just(""), ADDRESSES))
    family = family_of(address) if address else draw(st.sampled_from(list(Family)))
    return Frontend(family, address, draw(st.sampled_from(list(Protocol))), draw(NUMBERS))


BACKENDS = st.frozensets(st.builds(Backend, ADDRESSES, NUMBERS), max_size=6)
WORLDS = st.dictionaries(frontends(), BACKENDS, max_size=8)


def naively_stale(each: Entry, known: Frontends) -> bool:
    """The table of the module, over text, one frontend after the other."""

    def spelled(address: bytes) -> str:
        return next(
            one
            for one in (NODE, VIP, POD_A, POD_B, "fd07::1", "fd00:10:96::a", "fd00::1")
            if packed(one, family_of(one)) == address
        )

    if each.protocol != UDP:
        return False
    dialled, server = spelled(each.destination), spelled(each.reply_source)
    served_by = (server, each.reply_port)
    vip = known.get(Frontend(each.family, dialled, Protocol.UDP, each.destination_port))
    if vip is not None:
        return served_by not in vip
    nodeport = known.get(Frontend(each.family, "", Protocol.UDP, each.destination_port))
    here = dialled in {NODE, "fd07::1"}
    return nodeport is not None and here and served_by not in nodeport


@given(st.lists(entries(), max_size=12), WORLDS)
def test_plan_is_the_table_of_its_module(those: list[Entry], known: Frontends) -> None:
    assert list(plan(those, known, LOCAL)) == [each for each in those if naively_stale(each, known)]


# ------------------------------------------------------------------------------ backlog


def after(*snapshots: Frontends) -> Backlog:
    """A backlog that has compared all of them."""
    backlog = Backlog()
    for each in snapshots:
        backlog.put(each)
        backlog.take()
    return backlog


def targets(backlog: Backlog, *snapshots: Frontends) -> Frontends | None:
    for each in snapshots:
        backlog.put(each)
    return backlog.take().targets


def test_the_first_snapshot_is_compared_with_what_was_left() -> None:
    assert targets(Backlog(), {DNS: frozenset({A})}) == {DNS: frozenset({A})}


def test_the_same_again_does_not_wait() -> None:
    backlog = after({DNS: frozenset({A})})
    backlog.put({DNS: frozenset({A})})
    assert not backlog.waiting


def test_one_more_endpoint_is_no_reason_to_look() -> None:
    assert targets(after({DNS: frozenset({A})}), {DNS: frozenset({A, B})}) is None


def test_the_first_endpoint_is_a_reason_to_look() -> None:
    assert targets(after({DNS: frozenset()}), {DNS: frozenset({A})}) is not None


def test_a_frontend_that_is_gone_is_served_by_nobody() -> None:
    assert targets(after({DNS: frozenset({A})}), {}) == {DNS: frozenset()}


def test_what_came_and_went_while_no_one_looked_is_looked_at() -> None:
    backlog = after({DNS: frozenset({A})})
    news: list[Frontends] = [
        {DNS: frozenset({A, B}), NODEPORT: frozenset({A})},
        {DNS: frozenset({A})},
    ]
    assert targets(backlog, *news) == {DNS: frozenset({A}), NODEPORT: frozenset()}


def test_what_failed_waits_again_with_what_has_gone_since() -> None:
    backlog = after({DNS: frozenset({A}), NODEPORT: frozenset({A})})
    backlog.put({DNS: frozenset({A})})
    backlog.failed(backlog.take())
    assert backlog.waiting
    assert targets(backlog, {}) == {DNS: frozenset(), NODEPORT: frozenset()}


FEW = st.sampled_from([DNS, NODEPORT, Frontend(V4, VIP, Protocol.UDP, 54)])
SNAPSHOTS = st.dictionaries(FEW, st.frozensets(st.sampled_from([A, B]), max_size=2))
STEPS = st.lists(st.one_of(SNAPSHOTS, st.sampled_from(["compared", "failed"])), max_size=20)


@given(STEPS)
def test_whatever_happens_no_conversation_stays_with_who_does_not_serve(
    steps: list[Frontends | str],
) -> None:
    """Every conversation that may begin does: with each endpoint, or untranslated with nobody."""
    backlog, conversations = Backlog(), set[tuple[Frontend, Backend | None]]()
    now: Frontends = {}
    for step in [*steps, "compared"]:
        if not isinstance(step, str):
            now = step
            backlog.put(now)
            all_of_them = (DNS, NODEPORT, Frontend(V4, VIP, Protocol.UDP, 54))
            conversations |= {(f, b) for f in all_of_them for b in now.get(f) or [None]}
        elif backlog.waiting:
            taken = backlog.take()
            if step == "failed":
                backlog.failed(taken)
                continue
            known = taken.targets or {}
            conversations -= {(f, b) for f, b in conversations if f in known and b not in known[f]}
            assert all(b in now[f] if f in now else b is None for f, b in conversations)

"""Session affinity: a pod returns to its endpoint while that is ready, for as long as is told."""

from __future__ import annotations

import pytest
from bpf_stage import (
    ENDPOINTS4,
    ENDPOINTS6,
    PORT,
    TCP,
    Stage,
    list_of,
    who,
)
from scratch import Netns

from podwire_ebpf.records import AffinityKey, FrontendKey

VIP4, VIP6 = "10.96.0.10", "fd96::10"
BOTH = pytest.mark.parametrize(
    ("vip", "endpoints"), [(VIP4, ENDPOINTS4), (VIP6, ENDPOINTS6)], ids=["IPv4", "IPv6"]
)


def who_answers(on: Stage, where: Netns, vip: str, times: int = 8) -> set[str]:
    answers = set()
    for _ in range(times):
        with on.dial(where, vip, 80) as made:
            answers.add(who(made))
    return answers


@BOTH
def test_pod_returns_to_its_endpoint(on: Stage, vip: str, endpoints: tuple[str, ...]) -> None:
    on.serve(FrontendKey(vip, 80, TCP), *endpoints, affinity=600)
    assert len(who_answers(on, on.a, vip)) == 1
    assert len(who_answers(on, on.b, vip)) == 1
    assert {key.client for key in on.plane.tables.affinity.read()} == {
        on.namespace(on.a),
        on.namespace(on.b),
    }


def test_pod_is_remembered_since_its_last_connection(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, TCP)
    on.serve(key, *ENDPOINTS4, affinity=600)
    (before,) = who_answers(on, on.a, VIP4)
    row = AffinityKey(on.namespace(on.a), list_of(key))
    affinity = on.plane.tables.affinity
    known = affinity.read()[row]
    assert (known.address, known.port) == (before, PORT)
    who_answers(on, on.a, VIP4, 1)
    assert affinity.read()[row].last > known.last


def test_pod_is_forgotten_after_the_timeout(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, TCP)
    on.serve(key, *ENDPOINTS4, affinity=5)
    row = AffinityKey(on.namespace(on.a), list_of(key))
    affinity, met = on.plane.tables.affinity, set()
    for _ in range(40):
        met |= who_answers(on, on.a, VIP4, 1)
        known = affinity.read()[row]
        affinity.update({row: known._replace(last=known.last - 6 * 10**9)})
    assert len(met) > 1


def test_pod_returns_though_another_processor_wrote_a_moment_later(on: Stage) -> None:
    key = FrontendKey(VIP4, 80, TCP)
    on.serve(key, *ENDPOINTS4, affinity=5)
    before = who_answers(on, on.a, VIP4, 1)
    row = AffinityKey(on.namespace(on.a), list_of(key))
    affinity = on.plane.tables.affinity
    known = affinity.read()[row]
    later = known._replace(last=known.last + 600 * 10**9)
    affinity.update({row: later})
    assert who_answers(on, on.a, VIP4, 16) == before
    assert affinity.read()[row] == later, "and the later moment stays"


@pytest.mark.parametrize("how", ["gone", "ending"])
def test_nobody_returns_to_an_endpoint_that_is_not_ready(on: Stage, how: str) -> None:
    key = FrontendKey(VIP4, 80, TCP)
    on.serve(key, *ENDPOINTS4, affinity=600)
    (before,) = who_answers(on, on.a, VIP4)
    others = frozenset(ENDPOINTS4) - {before}
    if how == "gone":
        on.serve(key, *others, affinity=600)
    else:
        on.serve(key, *sorted(others), affinity=600, ready=others)
    (after,) = who_answers(on, on.a, VIP4)
    assert after in others


def test_affinity_of_a_service_is_its_own(on: Stage) -> None:
    on.serve(FrontendKey(VIP4, 80, TCP), ENDPOINTS4[0], affinity=600)
    on.serve(FrontendKey(VIP4, 81, TCP), ENDPOINTS4[1], affinity=600)
    assert who_answers(on, on.a, VIP4) == {ENDPOINTS4[0]}
    with on.dial(on.a, VIP4, 81) as made:
        assert who(made) == ENDPOINTS4[1]

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwire_proxy.frontend import Backend
from podwire_proxy.slots import assign

A, B, C, D = (Backend(f"10.244.1.{n}", 80) for n in range(1, 5))
backends = st.frozensets(st.builds(Backend, st.sampled_from("abcdefgh"), st.integers(1, 3)))


def test_who_stays_keeps_its_slot() -> None:
    assert assign((A, B, C), {A, B, C}) == (A, B, C)


def test_the_last_moves_into_the_hole() -> None:
    assert assign((A, B, C), {B, C}) == (C, B)


def test_a_newcomer_takes_the_slot_of_one_who_went() -> None:
    assert assign((A, B, C), {A, C, D}) == (A, D, C)


def test_newcomers_stand_at_the_end_in_order() -> None:
    assert assign((C,), {C, B, A}) == (C, A, B)


def test_a_backend_in_two_slots_is_put_right() -> None:
    assert sorted(assign((A, A, B), {A, B})) == [A, B]


def test_when_all_go_nothing_is_left() -> None:
    assert assign((A, B), set()) == ()


@given(backends, st.lists(backends, max_size=5))
def test_slots_are_dense_complete_and_move_as_little_as_they_can(
    start: frozenset[Backend], steps: list[frozenset[Backend]]
) -> None:
    slots = assign((), start)
    for now in steps:
        after = assign(slots, now)
        assert set(after) == now
        assert len(after) == len(now)
        moved = sum(1 for old, new in zip(slots, after, strict=False) if old != new)
        assert moved <= max(len(set(slots) - now), len(now - set(slots)))
        assert assign(after, now) == after
        slots = after

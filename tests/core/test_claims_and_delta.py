from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwire_core.claims import Claims
from podwire_core.delta import Delta, delta

small = st.dictionaries(st.integers(0, 5), st.integers(0, 3))


@given(small)
def test_a_delta_to_oneself_is_empty(have: dict[int, int]) -> None:
    assert not delta(have, have)
    assert delta(have, dict(have)) == Delta()


@given(small, small)
def test_applying_a_delta_gives_what_was_wanted(have: dict[int, int], want: dict[int, int]) -> None:
    difference = delta(have, want)
    result = {key: value for key, value in have.items() if key not in difference.removed}
    result.update(difference.added)
    result.update(difference.changed)
    assert result == want
    assert len(difference) == len({*have.items()} ^ {*want.items()}) - len(difference.changed)


def test_a_key_that_two_want_alike_stays_until_both_let_go() -> None:
    claims: Claims[str, str, int] = Claims()
    assert claims.replace("a", {"hairpin": 1}) == {"hairpin": 1}
    assert claims.replace("b", {"hairpin": 1}) == {}
    assert claims.replace("a", {}) == {}
    assert claims.replace("b", {}) == {"hairpin": None}
    assert claims.winners == {}


def test_the_older_right_wins_and_the_loser_is_named() -> None:
    claims: Claims[int, str, str] = Claims()
    claims.replace(2026, {"vip": "younger"})
    assert claims.replace(2024, {"vip": "older"}) == {"vip": "older"}
    assert claims.losers(2026) == {"vip": 2024}
    assert claims.losers(2024) == {}
    assert claims.replace(2024, {}) == {"vip": "younger"}


@given(st.lists(st.tuples(st.integers(0, 3), small), max_size=12))
def test_claims_do_not_depend_on_their_history(steps: list[tuple[int, dict[int, int]]]) -> None:
    claims: Claims[int, int, int] = Claims()
    told: dict[int, int] = {}
    final: dict[int, dict[int, int]] = {}
    for owner, wanted in steps:
        for key, value in claims.replace(owner, wanted).items():
            told.pop(key, None)
            if value is not None:
                told[key] = value
        final[owner] = wanted
    expected: dict[int, int] = {}
    for owner in sorted(final):
        for key, value in final[owner].items():
            expected.setdefault(key, value)
    assert claims.winners == expected == told


def test_who_lost_is_told_in_bounds() -> None:
    claims: Claims[int, str, str] = Claims()
    for owner in range(500):
        claims.replace(owner, {f"key{number}": str(owner) for number in range(40)})
    told = claims.lost(100)
    assert len(told) == 300
    assert {holder for _, _, holder in told} == {0}
    assert [owner for owner, _, _ in told] == [each for each in range(1, 101) for _ in range(3)]

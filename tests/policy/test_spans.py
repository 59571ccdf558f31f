"""Interval algebra: judged by sets of integers, which need no algebra."""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.family import Family
from podwire_core.nft.intervals import Span, span
from podwire_policy import spans

SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda t: (t[0], t[0] + t[1])),
    max_size=8,
)


def values(many: list[Span] | tuple[Span, ...]) -> set[int]:
    return {value for first, last in many for value in range(first, last + 1)}


@given(SPANS)
def test_merged_holds_the_same_values(many: list[Span]) -> None:
    assert values(spans.merged(many)) == values(many)


@given(SPANS)
def test_merged_spans_are_sorted_and_have_gaps_between_them(many: list[Span]) -> None:
    assert all(left[1] + 1 < right[0] for left, right in pairwise(spans.merged(many)))


@given(SPANS)
def test_merging_twice_changes_nothing(many: list[Span]) -> None:
    once = spans.merged(many)
    assert spans.merged(once) == once


@given(st.tuples(st.integers(0, 60), st.integers(0, 40)), SPANS)
def test_without_leaves_what_no_hole_holds(whole: Span, holes: list[Span]) -> None:
    whole = (whole[0], whole[0] + whole[1])
    left = spans.without(whole, holes)
    assert values(left) == values([whole]) - values(holes)
    assert left == spans.merged(left)


@pytest.mark.parametrize("family", Family, ids=str)
@given(many=SPANS)
def test_addresses_are_a_word_a_span(family: Family, many: list[Span]) -> None:
    merged = spans.merged(many)
    assert tuple(span(word) for word in spans.addresses(merged, family)) == merged


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [
        pytest.param("10.0.0.1", "10.0.0.1", "10.0.0.1", id="one address has no /32"),
        pytest.param("fd00::1", "fd00::1", "fd00::1", id="one address has no /128"),
        pytest.param("10.0.0.0", "10.0.0.7", "10.0.0.0/29", id="a CIDR"),
        pytest.param("10.0.0.0", "10.0.0.2", "10.0.0.0-10.0.0.2", id="as many as no CIDR has"),
        pytest.param("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2", id="where no CIDR begins"),
        pytest.param("::1", "::1:1", "::1-::0.1.0.1", id="IPv4 in IPv6, at a range's end"),
        pytest.param("fd00::", "fd00::2", "fd00::-fd00::2", id="an IPv6 range"),
        pytest.param("::", "::3", "::/126", id="small numbers stay IPv6"),
        pytest.param("::102:304", "::102:304", "::1.2.3.4", id="IPv4 in IPv6, one address"),
        pytest.param("::1:0", "::1:ffff", "::0.1.0.0/112", id="IPv4 in IPv6, a network"),
        pytest.param("0.0.0.0", "255.255.255.255", "0.0.0.0/0", id="everything"),
    ],
)
def test_addresses_are_spelled_as_nft_lists_them(first: str, last: str, word: str) -> None:
    one, other = ipaddress.ip_address(first), ipaddress.ip_address(last)
    family = Family.IPV4 if one.version == 4 else Family.IPV6
    assert spans.addresses([(int(one), int(other))], family) == (word,)


def test_ports_are_numbers_and_ranges() -> None:
    assert spans.ports(spans.merged([(80, 80), (443, 450), (451, 460)])) == ("80", "443-460")

"""Columns of text in a terminal: what is too long is folded, and names stay whole."""

from __future__ import annotations

import pytest

from podwire_node.dump.layout import fold, lines

DIALLED = "[fd00:10:96::b]:8125/UDP"
SERVICE = "kube-system/kube-dns:dns-tcp"
ENDPOINT = "[fd00:10:244:1::5]:8125 shop/api-v9q9s8-4mk5k"


@pytest.mark.parametrize(
    ("line", "width", "folded"),
    [
        ("short", 5, ["short"]),
        (ENDPOINT, 30, ["[fd00:10:244:1::5]:8125", "  shop/api-v9q9s8-4mk5k"]),
        (ENDPOINT, 23, ["[fd00:10:244:1::5]:8125", "  shop/api-v9q9s8-4mk5k"]),
        (SERVICE, 21, ["kube-system/", "  kube-dns:dns-tcp"]),
        (SERVICE, 13, ["kube-system/", "  kube-dns:", "  dns-tcp"]),
        ("a/b:c|a/b:d", 7, ["a/b:c|", "  a/b:d"]),
        ("0000ffff 0a60000a 00351100", 20, ["0000ffff 0a60000a", "  00351100"]),
    ],
)
def test_a_line_ends_between_words_or_names(line: str, width: int, folded: list[str]) -> None:
    assert fold(line, width) == folded


def test_what_fits_nowhere_is_broken_and_nothing_is_lost() -> None:
    folded = fold("x" * 50, 12)
    assert max(map(len, folded)) <= 12
    assert "".join(each.strip() for each in folded) == "x" * 50


@pytest.mark.parametrize("width", range(1, 40))
def test_folding_ends_at_any_width(width: int) -> None:
    folded = fold(ENDPOINT, width)
    assert max(map(len, folded)) <= width
    assert "".join(folded).replace(" ", "") == ENDPOINT.replace(" ", "")


def test_columns_have_their_widths_where_there_is_room() -> None:
    header, row = lines(["Dialled", "Service"], [[DIALLED, SERVICE]], 200)
    assert row == [f"{DIALLED}  {SERVICE}"]
    assert header[0].index("Service") == row[0].index(SERVICE)


def test_headers_give_way_before_names() -> None:
    header, row = lines(["Asked from", "Service"], [["inside", SERVICE]], 6 + 2 + len(SERVICE))
    assert header == ["Asked   Service", "from"]
    assert row == [f"inside  {SERVICE}"]


def test_at_80_columns_no_address_is_broken_and_no_name_within_a_word() -> None:
    cells = [DIALLED, "inside", SERVICE, f"{ENDPOINT}\n{ENDPOINT}"]
    _, row = lines(["Dialled", "Asked from", "Service", "Endpoints"], [cells], 80)
    assert max(map(len, row)) <= 80
    text = "\n".join(row)
    assert DIALLED in text
    assert text.count("[fd00:10:244:1::5]:8125") == 2
    assert text.count("shop/api-v9q9s8-4mk5k") == 2

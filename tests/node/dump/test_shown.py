"""Maps as tables for people: what tells nothing is not shown, bytes stand below their row."""

from __future__ import annotations

import json

from podwire_ebpf.records import Endpoint, Frontend, FrontendKey
from podwire_node.dump.names import LeftName, Names, PlaceName
from podwire_node.dump.rows import Entry, Moment, rows_of
from podwire_node.dump.shown import Dump, Part, dump_json, shown

API = FrontendKey("10.96.0.13", 80, 6)
PLACE = PlaceName("/sys/fs/bpf/podwire", "node1", "auto", "ebpf")


def dump(affinity: int = 0, *, left: bool = False) -> Dump:
    names = Names(services={API: "shop/api:http"}, pods={"10.244.1.5": "shop/api-v9q9s8-4mk5k"})
    ends = (Endpoint("10.244.1.5", 8080), Endpoint("10.244.2.3", 8080))
    value = Frontend(0xABC, 2, affinity=affinity, counter=7, first=ends)
    entry = Entry(API, value, b"\x0a\x60\x00\x0d\x00\x50", bytes(400))
    rows = rows_of("frontends", [entry], Moment(names, 100.0))
    parts = {"frontends": Part(rows, 1), "members": Part((), 0), "lost": Part((), 0)}
    left_over = [LeftName("10.96.0.14", 80, 6, "shop/old:", "loadBalancerSourceRanges")]
    return Dump(PLACE, PLACE.folder, parts=parts, named=True, left=left_over if left else ())


def text(found: Dump, room: int, *, raw: bool = False) -> str:
    return "\n\n".join(each.plain for each in shown(found, raw=raw, room=room))


def test_a_narrow_table_has_an_endpoint_a_line_and_its_pod_whole() -> None:
    assert text(dump(left=True), 78).split("\n") == [
        "frontends: 1 entry",
        "Dialled            Asked   Service        Endpoints",
        "                   from",
        "10.96.0.13:80/TCP  inside  shop/api:http  10.244.1.5:8080",
        "                                            shop/api-v9q9s8-4mk5k",
        "                                          10.244.2.3:8080",
        "",
        "left to nftables: 1",
        "Dialled            Service    Because",
        "10.96.0.14:80/TCP  shop/old:  loadBalancerSourceRanges",
        "",
        "no rows: members, lost",
    ]


def test_columns_without_any_text_are_not_shown() -> None:
    assert "Affinity" not in text(dump(), 120)
    assert "30 s" in text(dump(affinity=30), 120)


def test_numbers_of_lists_and_counters_are_for_raw() -> None:
    assert "0abc" not in text(dump(), 120)
    lines = text(dump(), 120, raw=True).splitlines()
    assert "  counter 7" in lines
    assert "  list    0000000000000abc" in lines


def test_bytes_stand_below_their_row_and_leave_the_columns_as_they_are() -> None:
    plain, raw = text(dump(), 80).splitlines(), text(dump(), 80, raw=True).splitlines()
    assert [line for line in plain if line in raw] == plain
    assert "  key     0a60000d 0050" in raw
    assert max(map(len, raw)) <= 80
    assert sum(line.count("00000000") for line in raw) >= 100


def test_a_table_that_is_asked_for_is_shown_without_rows() -> None:
    assert text(Dump(PLACE, parts={"peers": Part((), 0)}), 80) == "peers: 0 entries"


def test_json_of_one_agent_has_all_columns_and_of_several_the_node_too() -> None:
    one = json.loads(dump_json(dump(), raw=False))
    assert one.keys() == {"folder", "named", "tables", "left_to_nftables"}
    (row,) = one["tables"]["frontends"]["rows"]
    assert (row["Affinity"], row["Counter"], row["List"]) == ("", "7", "0000000000000abc")
    several = json.loads(dump_json(dump(), raw=False, several=True))
    added = {"node": "node1", "backend": "ebpf", "why": "", "problem": ""}
    assert several == {**added, **one}

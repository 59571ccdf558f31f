"""Elements are decoded from what a kernel once said, and from nonsense never into wrong data.

Recorded from Linux 6.18 with nft 1.0.6, bodies as nfgenmsg and attributes, in hex.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.netlink import attributes
from podwire_core.nft.datatypes import (
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    NUMGEN,
    Datatype,
    Unreadable,
    layout,
)
from podwire_core.nft.elements import elements
from podwire_core.nft.netlink import fields_of, messages, userdata
from podwire_core.nft.sets import Declared

#: What GETSET answered, and what GETSETELEM did.
RECORDED: dict[str, tuple[str, str]] = {
    "frontends": (
        """0200000311000100706f64776972652d74657374000000000e00020066726f6e74656e6473000000
           0c00100000000000000000010800030000000008080004000000730d080005000000000c08000600
           ffffff00080007000000001086000d00000400000000010400000000034400040d000000013c0014
           000407000000010c00040c00000001040c000000010e000409000000010600041000000002140004
           07000000010c00040b00000001040200000004080004010000000100060400000000071e77686174
           206120636c69656e74206469616c7320233632353164323462000000040009001700130030786666
           666666666666383235303766343000000800140000000001""",
        """0200000311000100706f64776972652d74657374000000000e00020066726f6e74656e6473000000
           4c0003004800010014000100100001000a60000106000000005000001c0002001800020008000100
           fffffffc090002007069636b0000000014000600000e73686f702f6170693a6874747000""",
    ),
    "slots": (
        """0200000311000100706f64776972652d74657374000000000a000200736c6f74730000000c001000
           000000000000001008000300000000080800040000007344080005000000000c08000600000001cd
           0800070000000008a9000d00000400000000010400000000035000040d0000000148001400040700
           0000010c00040c00000001040c0000000114000407000000010c000408000000010402000000021a
           0004170000000112000401000000010402000000020400000000043400040d000000012c00140004
           07000000010c00040c00000001040c0000000114000407000000010c000408000000010402000000
           0604000000000709736c6f7473202330000000000400090017001300307866666666666666663832
           35303766343000000800140000000001""",
        """0200000311000100706f64776972652d74657374000000000a000200736c6f74730000002c000300
           2800010014000100100001000a6000010050000001000000100002000c0001000af401051f900000""",
    ),
    "cidrs": (
        """0200000311000100706f64776972652d74657374000000000a00020063696472730000000c001000
           000000000000000308000300000000040800040000000007080005000000000435000d0000040200
           00000314000407000000010c00040c00000001040b00000007136e6574776f726b73202335363366
           63613665000000000400090017001300307866666666666666663832353038306530000008001400
           00000001""",
        """0200000311000100706f64776972652d74657374000000000a000200636964727300000050000300
           180001000c000100080001000b00000008000300000000011c0001000c000100080001000a000000
           0a000600000474656e000000180001000c00010008000100000000000800030000000001""",
    ),
    "last": (
        """0200000311000100706f64776972652d7465737400000000090002006c617374000000000c001000
           00000000000000110800030000000004080004000000000d08000500000000020a000d0000040200
           00000000040009001700130030786666666666666666383235303830653000000800140000000003""",
        """0200000311000100706f64776972652d7465737400000000090002006c6173740000000088000300
           1c0001000c00010006000100fde800000a0006000104010000000000180001000c00010006000100
           005b00000800030000000001100001000c00010006000100005a0000180001000c00010006000100
           005a00000800030000000001100001000c0001000600010000500000180001000c00010006000100
           000000000800030000000001""",
    ),
    "pairs": (
        """0200000311000100706f64776972652d74657374000000000a00020070616972730000000c001000
           0000000000000012080003000000008408000400000001cd080005000000000814000d0000040000
           0000030800040d0000000100200009001c0002000c00010008000100000000040c00010008000100
           000000021700130030786666666666666666383235303831613000000800140000000002""",
        """0200000311000100706f64776972652d74657374000000000a00020070616972730000004c000300
           24000100100001000c0001000a0000000050000010000a000c0001000affffff0059000024000100
           100001000c000100010203040005000010000a000c0001000102030400050000""",
    ),
    "clients": (
        """0200000311000100706f64776972652d74657374000000000c000200636c69656e7473000c001000
           000000000000000108000300000000380800040000007104080005000000000c08000600000001cd
           08000700000000080c000b000000000000a4cb80b8000d0000040000000001040000000003560004
           0d000000014e0014000407000000010c00040c00000001040b000000011a00041700000001120004
           01000000010401000000020401000000021a00041700000001120004010000000104010000000204
           02000000043400040d000000012c0014000407000000010c00040c00000001040c00000001140004
           07000000010c0004060000000104020000000604000000000712636c69656e747320233963326463
           663562000c00090008000100000186a0170013003078666666666666666638323530376634300000
           0800140000000001""",
        """0200000411000100706f64776972652d74657374000000000c000200636c69656e74730078000300
           3400010014000100100001000a0808090000000001000000100002000c0001000af4010600350000
           0c0005000000000000a4cb804000010014000100100001000a0808080700000000286bee10000200
           0c0001000af40105003500000c0004000000000000015f900c0005000000000000015f88""",
    ),
}
SAID = {
    "frontends": {"10.96.0.1 . tcp . 80": "goto pick\nshop/api:http"},
    "slots": {"10.96.0.1 . 80 . 1": "10.244.1.5 . 8080"},
    "cidrs": {"10.0.0.0/8": "\nten"},
    "last": {"80-89": "", "90": "", "65000-65535": ""},
    "pairs": {"10.0.0.0/8 . 80-89": "", "1.2.3.4 . 5": ""},
    "clients": {  # the one has a time of its own, the other its set's
        "10.8.8.8 . 7 . 4000000000": "10.244.1.5 . 53",
        "10.8.8.9 . 0 . 1": "10.244.1.6 . 53",
    },
}


def declared(name: str) -> Declared:
    return Declared(fields_of(bytes.fromhex(RECORDED[name][0])))


def listed(name: str) -> bytes:
    return bytes.fromhex(RECORDED[name][1])


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_kernel_once_said_is_understood(name: str) -> None:
    assert declared(name).name == name
    assert elements(declared(name), [listed(name)]) == SAID[name]


@pytest.mark.parametrize(("name", "noun"), [("frontends", "map"), ("last", "set")])
def test_a_map_is_told_from_a_set(name: str, noun: str) -> None:
    assert declared(name).noun == noun
    assert not declared(name).anonymous


def test_a_set_says_its_comment_and_what_made_it_says_its_digest() -> None:
    assert declared("slots").comment == "slots #0"
    assert declared("cidrs").comment.startswith("networks #")
    assert declared("last").comment == "?"


def test_only_sets_that_keep_their_elements_have_a_size() -> None:
    assert declared("slots").size == 1
    assert declared("last").size is None, "intervals are counted otherwise"
    assert declared("clients").size is None, "entries go by themselves"
    assert declared("clients").count == 1


def test_a_set_whose_elements_go_by_themselves_is_dynamic() -> None:
    assert [name for name in RECORDED if declared(name).dynamic] == ["clients"]


def test_entries_of_one_shape_are_read_like_those_of_several() -> None:
    body, begin = listed("clients"), 40  # behind the names of table and set
    end = begin + body[begin]  # where the first element says so
    first, second = body[begin:end], body[end:]
    for items, number in ((first, 1), (first * 3, 1), (second, 1), (second + first, 2)):
        size = (4 + len(items)).to_bytes(2, "little")
        whole = body[: begin - 4] + size + body[begin - 2 : begin] + items
        found = elements(declared("clients"), [whole])
        assert len(found) == number
        assert found.items() <= SAID["clients"].items()


def test_a_key_type_that_we_do_not_know_is_not_guessed() -> None:
    changed = Declared({**declared("frontends").fields, 4: (19).to_bytes(4, "big")})
    with pytest.raises(Unreadable):
        elements(changed, [listed("frontends")])


def test_an_integer_that_typeof_does_not_explain_is_not_guessed() -> None:
    fields = declared("slots").fields
    with pytest.raises(Unreadable):
        elements(Declared({**fields, 13: b""}), [listed("slots")])


@pytest.mark.parametrize("flags", [2, 4, 8])
def test_an_element_with_a_flag_of_the_future_is_not_guessed(flags: int) -> None:
    key = b"\x0c\0\1\0\x08\0\1\0\x0a\0\0\1"
    item = key + b"\x08\0\3\0" + flags.to_bytes(4, "big")
    item = (4 + len(item)).to_bytes(2, "little") + b"\1\0" + item
    body = bytes(4) + (4 + len(item)).to_bytes(2, "little") + b"\3\0" + item
    with pytest.raises(Unreadable):
        elements(declared("cidrs"), [body])


@pytest.mark.parametrize("name", RECORDED)
@given(data=st.data())
def test_broken_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    whole = bytearray(listed(name))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        found = elements(declared(name), [bytes(whole[:cut])])
    except Unreadable:
        return
    assert all(isinstance(each, str) for row in found.items() for each in row)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_apart_without_an_error(data: bytes) -> None:
    attributes(data)
    userdata(data)
    list(messages(data))


@pytest.mark.parametrize(
    ("part", "first", "last", "words"),
    [
        (IPV4_ADDR, "0a000000", "0affffff", "10.0.0.0/8"),
        (IPV4_ADDR, "0a000001", "0a000002", "10.0.0.1-10.0.0.2"),
        (IPV4_ADDR, "0a000001", "0a000001", "10.0.0.1"),
        (IPV4_ADDR, "00000000", "ffffffff", "0.0.0.0/0"),
        (IPV6_ADDR, "00" * 16, "ff" * 16, "::/0"),
        (IPV6_ADDR, "fd" + "00" * 15, "fd" + "00" * 14 + "01", "fd00::/127"),
        (INET_SERVICE, "0050", "0051", "80-81"),
        (INET_SERVICE, "0000", "ffff", "0-65535"),
        (INET_PROTO, "06", "06", "tcp"),
        (INET_PROTO, "32", "32", "50"),
    ],
)
def test_a_span_is_written_as_nft_writes_it(
    part: Datatype, first: str, last: str, words: str
) -> None:
    assert part.span(bytes.fromhex(first), bytes.fromhex(last)) == words


def test_a_range_of_protocols_is_left_to_libnftables() -> None:
    with pytest.raises(Unreadable):
        INET_PROTO.span(b"\6", b"\x11")


def test_parts_are_padded_in_concatenations_alone() -> None:
    assert layout(13, 2, {}).words(b"\0\x50") == "80"
    assert layout(12 << 6 | 13, 8, {}).words(b"\6\0\0\0\0\x50\0\0") == "tcp . 80"
    assert layout(4 << 6 | 4, 8, {0: NUMGEN, 1: NUMGEN}).parts == (NUMGEN, NUMGEN)
    for number, length in ((0, 0), (13, 4), (12 << 6 | 13, 3), (63, 4)):
        with pytest.raises(Unreadable):
            layout(number, length, {})

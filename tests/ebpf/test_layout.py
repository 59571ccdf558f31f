"""The bytes that Python packs are those of the C structs, and say the same back."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podwire_ebpf
from podwire_ebpf import addresses, codecs
from podwire_ebpf.layout import EVENT_SIZE, FIRST, RING, TABLES, Kind, Layout
from podwire_ebpf.records import (
    Affinity,
    AffinityKey,
    Canary,
    Counter,
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Lost,
    Member,
    MemberKey,
    Peer,
    Reverse,
    ReverseKey,
    Scope,
    Settings,
)

MAPS = Path(podwire_ebpf.__file__).with_name("maps.c")

#: Structs whose bytes Python knows, with what packs them and their fields in order.
STRUCTS: dict[str, tuple[struct.Struct, tuple[str, ...]]] = {
    "frontend_key": (codecs.FRONTEND_KEY, ("address", "port", "protocol", "scope")),
    "frontend": (codecs.FRONTEND, ("list", "count", "affinity", "counter", "flags", "seal")),
    "endpoint_key": (codecs.ENDPOINT_KEY, ("list", "slot", "zero")),
    "endpoint": (codecs.ENDPOINT, ("address", "port", "zero", "seal")),
    "member_key": (codecs.MEMBER_KEY, ("list", "address", "port", "zero", "zeroes")),
    "affinity_key": (codecs.AFFINITY_KEY, ("client", "list", "scope", "zero")),
    "affinity": (codecs.AFFINITY, ("address", "port", "zero", "zeroes", "last")),
    "peer": (
        codecs.PEER,
        (
            *("socket", "endpoint", "dialled", "endpoint_port", "dialled_port"),
            *("seal", "crowded", "zero"),
        ),
    ),
    "reverse_key": (codecs.REVERSE_KEY, ("socket", "address", "port", "forward", "zeroes")),
    "reverse": (
        codecs.REVERSE,
        ("address", "port", "wildcard", "zero", "next_address", "next_port", "next_forward"),
    ),
    "counter": (codecs.PAIR, ("connections", "refused")),
    "settings": (codecs.SETTINGS, ("node", "flags", "zero")),
    "canary": (codecs.PAIR, ("namespace", "hooks")),
    "event": (
        codecs.EVENT,
        (
            *("time", "namespace", "socket", "cgroup", "dialled", "endpoint"),
            *("dialled_port", "endpoint_port", "protocol", "hook", "zero"),
        ),
    ),
}

_PROGRAM = """
#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>
#define PODWIRE_MAPS ""
#define BPF_TABLE_PINNED(kind, key, value, name, entries, path, flags) \\
    static const unsigned long name##_sizes[] = {{ sizeof(key), sizeof(value), entries }}
#include "maps.c"
int main(void)
{{
{lines}
    return 0;
}}
"""


def offsets(packed: struct.Struct) -> list[int]:
    """Where its fields begin."""
    parts = re.findall(r"\d*[a-zA-Z]", packed.format[1:])
    fields = [part for part in parts for _ in range(1 if part.endswith("s") else _times(part))]
    singles = [part if part.endswith("s") else part[-1] for part in fields]
    return [struct.calcsize("=" + "".join(singles[:at])) for at in range(len(singles))]


def _times(part: str) -> int:
    return int(part[:-1] or 1)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """What a C compiler makes of maps.c: size and offsets of structs, sizes of maps."""
    compiler = shutil.which("cc")
    assert compiler, "install gcc: it builds the CNI client, too"
    folder = tmp_path_factory.mktemp("layout")
    lines = []
    for name, (_, fields) in STRUCTS.items():
        numbers = ", ".join(f"offsetof(struct {name}, {field})" for field in fields)
        words = " ".join(["%zu"] * (1 + len(fields)))
        lines.append(f'    printf("{name} {words}\\n", sizeof(struct {name}), {numbers});')
    for name in TABLES:
        numbers = ", ".join(f"{name}_sizes[{at}]" for at in range(3))
        lines.append(f'    printf("map:{name} %lu %lu %lu\\n", {numbers});')
    source = folder / "sizes.c"
    source.write_text(_PROGRAM.format(lines="\n".join(lines)))
    headers = folder / "uapi"
    headers.symlink_to("/usr/include")
    include = [f"-I{folder}", f"-I{MAPS.parent}"]
    program = folder / "sizes"
    subprocess.run([compiler, "-w", *include, "-o", program, source], check=True)
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in told.splitlines())
    return {name: list(map(int, numbers)) for name, *numbers in rows}


@pytest.mark.parametrize("name", STRUCTS)
def test_fields_stand_where_the_compiler_puts_them(
    name: str, compiled: dict[str, list[int]]
) -> None:
    packed, fields = STRUCTS[name]
    assert len(offsets(packed)) == len(fields)
    assert compiled[name] == [packed.size, *offsets(packed)]


@pytest.mark.parametrize("name", TABLES)
def test_maps_have_the_sizes_that_the_compiler_sees(
    name: str, compiled: dict[str, list[int]]
) -> None:
    table = TABLES[name]
    assert compiled[f"map:{name}"] == [table.key.size, table.element_size, table.elements]


@pytest.mark.parametrize("name", TABLES)
def test_maps_have_the_kind_and_flags_that_maps_c_declares(name: str) -> None:
    declared = re.search(rf'TABLE\("(\w+)", [^;]*\b{name}, [^;]*, (\w+)\);', MAPS.read_text())
    assert declared
    table = TABLES[name]
    assert declared[1] == table.kind.name.lower()
    assert declared[2] == ("BPF_F_NO_PREALLOC" if table.flags else "0")


def test_every_struct_and_every_map_is_compared() -> None:
    text = MAPS.read_text()
    made_of_others = {"address", "service", "block", "events_table_t"}
    assert (
        set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE)) == STRUCTS.keys() | made_of_others
    )
    assert (
        set(re.findall(r'^TABLE\("\w+", .*?(\w+), [^,]+, \w+\);', text, re.MULTILINE))
        == TABLES.keys()
    )
    assert RING[0] == "events"
    assert f".max_entries = 1 << {RING[1].bit_length() - 1}" in text
    assert codecs.EVENT.size == EVENT_SIZE


# ------------------------------------------------------------------------------ round trips

WORDS = st.integers(0, 2**32 - 1)
LONGS = st.integers(0, 2**64 - 1)
PORTS = st.integers(0, 65_535)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6)
    .filter(lambda each: each.ipv4_mapped is None and int(each) != 0)
    .map(lambda each: socket.inet_ntop(socket.AF_INET6, each.packed)),
)
PROTOCOLS = st.sampled_from([socket.IPPROTO_TCP, socket.IPPROTO_UDP])
ENDPOINTS = st.builds(Endpoint, ADDRESSES, PORTS)


@st.composite
def frontends(draw: st.DrawFn) -> Frontend:
    first = tuple(draw(st.lists(ENDPOINTS, max_size=FIRST)))
    count = draw(st.integers(FIRST, 2**32 - 1)) if len(first) == FIRST else len(first)
    return Frontend(draw(LONGS), count, draw(WORDS), draw(PORTS), draw(PORTS), first)


ROWS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "frontends": (
        st.builds(
            FrontendKey,
            st.one_of(ADDRESSES, st.just("::")),
            PORTS,
            PROTOCOLS,
            st.sampled_from(Scope),
        ),
        frontends(),
    ),
    "endpoints": (st.builds(EndpointKey, LONGS, WORDS), ENDPOINTS),
    "members": (st.builds(MemberKey, LONGS, ADDRESSES, PORTS), st.builds(Member, WORDS)),
    "affinity": (
        st.one_of(
            st.builds(AffinityKey, LONGS, LONGS, st.just(Scope.INSIDE)),
            st.builds(AffinityKey, ADDRESSES, LONGS, st.just(Scope.OUTSIDE)),
        ),
        st.builds(Affinity, ADDRESSES, PORTS, LONGS),
    ),
    "reverse": (
        st.builds(ReverseKey, LONGS, ADDRESSES, PORTS, st.booleans()),
        st.builds(Reverse, ADDRESSES, PORTS, st.booleans(), ADDRESSES, PORTS, st.booleans()),
    ),
    "peers": (WORDS, st.builds(Peer, LONGS, ADDRESSES, PORTS, ADDRESSES, PORTS)),
    "addresses": (ADDRESSES, st.builds(Member, WORDS)),
    "counters": (WORDS, st.builds(Counter, LONGS, LONGS)),
    "settings": (WORDS, st.builds(Settings, LONGS, st.sampled_from([Flag(0), *Flag]))),
    "canaries": (LONGS, st.builds(Canary, LONGS, LONGS)),
    "lost": (WORDS, st.builds(Lost, LONGS)),
}


def test_every_table_has_rows_to_try() -> None:
    assert ROWS.keys() == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
def test_rows_come_back_as_they_were(name: str, data: st.DataObject) -> None:
    table: Layout[Any, Any] = TABLES[name]
    key, value = (data.draw(each) for each in ROWS[name])
    raw_key, raw_value = table.key.pack(key), table.value.pack(key, value)
    assert (len(raw_key), len(raw_value)) == (table.key.size, table.value.size)
    assert table.key.unpack(raw_key) == key
    assert table.value.unpack(raw_value) == value


# ------------------------------------------------------------------------------ bytes


def test_addresses_are_sixteen_bytes_in_network_order() -> None:
    assert addresses.pack("10.96.0.10").hex() == "00000000000000000000ffff0a60000a"
    assert addresses.pack("fd00::10").hex() == "fd000000000000000000000000000010"
    assert addresses.pack("") == bytes(16)
    assert addresses.unpack(addresses.pack("::ffff:10.96.0.10")) == "10.96.0.10"


def test_ports_are_in_network_order() -> None:
    raw = TABLES["frontends"].key.pack(FrontendKey("10.96.0.10", 0x1F90, 6))
    assert raw[16:20] == bytes([0x1F, 0x90, 6, 0])


@pytest.mark.parametrize("address", ["10.96.0", "fd00::g", "10.96.0.10/32", "here", "1.2.3.4.5"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no IP address"):
        addresses.pack(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_addresses_come_back(address: IPv4Address | IPv6Address) -> None:
    told = addresses.unpack(addresses.pack(str(address)))
    if int(address) or address.version == 4:
        mapped = getattr(address, "ipv4_mapped", None)
        assert IPv6Address(addresses.pack(told)) == IPv6Address(addresses.pack(str(address)))
        assert told == str(mapped or address) or ":" in told


@pytest.mark.parametrize("count", [0, 3, 16, 17, 400])
def test_frontend_has_its_first_endpoints_and_no_others(count: int) -> None:
    endpoint = Endpoint("10.244.1.5", 8080)
    pack = TABLES["frontends"].value.pack
    key = FrontendKey("10.96.0.10", 80, 6)
    pack(key, Frontend(7, count, first=(endpoint,) * min(count, FIRST)))
    with pytest.raises(ValueError, match="first endpoints"):
        pack(key, Frontend(7, count, first=(endpoint,) * (min(count, FIRST) + 1)))


# ------------------------------------------------------------------------------ seals


@given(data=st.data(), at=st.integers(0, 23), bit=st.integers(0, 7))
def test_endpoint_with_a_bit_changed_is_not_whole(data: st.DataObject, at: int, bit: int) -> None:
    key, value = (data.draw(each) for each in ROWS["endpoints"])
    table = TABLES["endpoints"]
    raw_key, raw = table.key.pack(key), bytearray(table.value.pack(key, value))
    assert codecs.sealed(raw_key, bytes(raw))
    raw[at] ^= 1 << bit
    assert not codecs.sealed(raw_key, bytes(raw))


@given(data=st.data(), other=LONGS)
def test_endpoint_of_another_list_is_told_apart(data: st.DataObject, other: int) -> None:
    key, value = (data.draw(each) for each in ROWS["endpoints"])
    table = TABLES["endpoints"]
    stranger = key._replace(list=other)
    raw = table.value.pack(stranger, value)
    sums = {sum(divmod(each.list, 1 << 32)) % (1 << 32) for each in (key, stranger)}
    assert codecs.sealed(table.key.pack(key), raw) == (len(sums) == 1)


@given(data=st.data())
def test_frontend_is_sealed_and_so_are_its_endpoints(data: st.DataObject) -> None:
    key, value = (data.draw(each) for each in ROWS["frontends"])
    table = TABLES["frontends"]
    raw = table.value.pack(key, value)
    head, size = codecs.FRONTEND.size, codecs.ENDPOINT.size
    assert codecs.sealed(table.key.pack(key), raw[:head])
    for slot in range(len(value.first)):
        at = head + slot * size
        row = TABLES["endpoints"].key.pack(EndpointKey(value.list, slot))
        assert codecs.sealed(row, raw[at : at + size])


def test_kinds_are_the_kernels() -> None:
    text = Path("/usr/include/linux/bpf.h").read_text()
    listed = re.search(r"enum bpf_map_type \{(.*?)\n\};", text, re.DOTALL)
    assert listed
    names = re.findall(r"^\s(BPF_MAP_TYPE_\w+)[,\s]", listed[1], re.MULTILINE)
    for kind in Kind:
        assert f"BPF_MAP_TYPE_{kind.name}" in names
        if int(kind) < 19:  # where an alias stands in the list
            assert names[int(kind)] == f"BPF_MAP_TYPE_{kind.name}"

"""The maps for traffic from outside: the same bytes in Python and in C."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import podwire_ebpf
from podwire_ebpf import external, uplink
from podwire_ebpf.external import Connection, Flow, Fragment, Ports, Way
from podwire_ebpf.layout import TABLES as OTHERS
from podwire_ebpf.layout import Layout
from podwire_ebpf.records import Member

FOLDER = Path(podwire_ebpf.__file__).parent
TABLES = external.TABLES

_PROGRAM = """
#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>
#define PODWIRE_MAPS ""
#define BPF_TABLE_PINNED(kind, key, value, name, entries, path, flags) \\
    static const unsigned long name##_sizes[] = {{ sizeof(key), sizeof(value), entries }}
#include "maps.c"
#include "flows.c"
#define AT(field) offsetof(struct connection, field)
int main(void)
{{
{lines}
    printf("connection %zu %zu %zu %zu %zu %zu %zu %zu %zu %zu %zu\\n", AT(address), AT(port),
           AT(nftables), AT(masquerade), AT(answered), AT(reset), AT(finished), AT(list), AT(last),
           AT(number), AT(established));
    printf("flow %zu %zu %zu %zu %zu %zu\\n", offsetof(struct flow, source),
           offsetof(struct flow, destination), offsetof(struct flow, source_port),
           offsetof(struct flow, destination_port), offsetof(struct flow, protocol),
           offsetof(struct flow, way));
    printf("flags %d %d\\n", MASQUERADE, BY_SOURCE);
    printf("ways %d %d\\n", REQUEST, REPLY);
    return 0;
}}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """What a C compiler makes of the two files."""
    compiler = shutil.which("cc")
    assert compiler, "install gcc: it builds the CNI client, too"
    folder = tmp_path_factory.mktemp("layout")
    lines = []
    for name in TABLES:
        numbers = ", ".join(f"{name}_sizes[{at}]" for at in range(3))
        lines.append(f'    printf("map:{name} %lu %lu %lu\\n", {numbers});')
    source, program = folder / "sizes.c", folder / "sizes"
    source.write_text(_PROGRAM.format(lines="\n".join(lines)))
    (folder / "uapi").symlink_to("/usr/include")
    include = [f"-I{folder}", f"-I{FOLDER}"]
    subprocess.run([compiler, "-w", *include, "-o", program, source], check=True)
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in told.splitlines())
    return {name: list(map(int, numbers)) for name, *numbers in rows}


@pytest.mark.parametrize("name", TABLES)
def test_maps_are_as_large_as_the_compiler_sees(name: str, compiled: dict[str, list[int]]) -> None:
    table = TABLES[name]
    assert compiled[f"map:{name}"] == [table.key.size, table.value.size, table.max_entries]


def test_fields_stand_where_the_compiler_puts_them(compiled: dict[str, list[int]]) -> None:
    assert compiled["connection"] == [0, 16, 18, 19, 20, 21, 22, 24, 32, 40, 44]
    half = Connection("1.2.3.4", 0x0506, 7, 8, True, False, True, False, (False, True), 9, True)
    raw = external.CONNECTIONS.value.pack(FLOW, half)
    assert raw[12:24] == bytes([1, 2, 3, 4, 5, 6, 1, 0, 1, 0, 0, 1])
    assert struct.unpack("=QQ", raw[24:40]) == (7, 8)
    assert raw[40:] == bytes([0, 0, 0, 9, 1, 0, 0, 0])
    assert compiled["flow"] == [0, 16, 32, 34, 36, 37]
    assert external.CONNECTIONS.key.pack(FLOW)[12:16] == bytes([10, 0, 0, 1])
    assert external.CONNECTIONS.key.pack(FLOW)[28:] == bytes([10, 0, 0, 2, 0, 1, 0, 2, 17, 1, 0, 0])


FLOW = Flow("10.0.0.1", 1, "10.0.0.2", 2, socket.IPPROTO_UDP, Way.REPLY)


def test_flags_and_ways_are_the_same_numbers(compiled: dict[str, list[int]]) -> None:
    assert compiled["flags"] == [external.Flag.MASQUERADE, external.Flag.BY_SOURCE]
    assert compiled["ways"] == [Way.REQUEST, Way.REPLY]
    text = (FOLDER / "external.c").read_text()
    assert f"#define MASQUERADE_MARK {external.MASQUERADE_MARK:#x}\n" in text
    assert f"#define TRANSLATED_MARK {external.TRANSLATED_MARK:#x}\n" in text


def test_maps_have_the_kind_and_flags_that_c_declares() -> None:
    text = (FOLDER / "flows.c").read_text()
    declared = re.findall(r'^TABLE\("(\w+)", .*?(\w+), \d+, (\w+)\);', text, re.MULTILINE)
    assert declared == [
        (each.kind.name.lower(), name, "BPF_F_NO_PREALLOC" if each.flags else "0")
        for name, each in TABLES.items()
    ]
    assert not TABLES.keys() & OTHERS.keys()


def test_programs_stand_in_the_text_under_names_that_the_kernel_keeps() -> None:
    text = external.MODULE.text()
    for each in external.MODULE.programs:
        assert f"\nint {each.function}(struct __sk_buff *skb)\n" in text
        assert len(each.function) <= 15  # BPF_OBJ_NAME_LEN, without its end


# ------------------------------------------------------------------------------ round trips

PORTS = st.integers(0, 65_535)
LONGS = st.integers(0, 2**64 - 1)
BITS = st.booleans()
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6)
    .filter(lambda each: each.ipv4_mapped is None and int(each) != 0)
    .map(lambda each: socket.inet_ntop(socket.AF_INET6, each.packed)),
)
PROTOCOLS = st.sampled_from([socket.IPPROTO_TCP, socket.IPPROTO_UDP])
WAYS = st.sampled_from(Way)
NETWORKS = st.sampled_from(["10.244.0.0/16", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0"])
FLOWS = st.builds(Flow, ADDRESSES, PORTS, ADDRESSES, PORTS, PROTOCOLS, WAYS)
HALVES = st.builds(
    Connection,
    *(ADDRESSES, PORTS, LONGS, LONGS, BITS, BITS, BITS, BITS, st.tuples(BITS, BITS)),
    *(st.integers(0, 2**32 - 1), BITS),
)
ROWS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "opening": (FLOWS, HALVES),
    "connections": (FLOWS, HALVES),
    "fragments": (
        st.builds(Fragment, ADDRESSES, ADDRESSES, st.integers(0, 2**32 - 1), PROTOCOLS, WAYS),
        st.builds(Ports, PORTS, PORTS),
    ),
    "insiders": (NETWORKS, st.just(Member())),
}


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
def test_rows_come_back_as_they_were(name: str, data: st.DataObject) -> None:
    table: Layout[Any, Any] = TABLES[name]
    key, value = (data.draw(each) for each in ROWS[name])
    raw_key, raw_value = table.key.pack(key), table.value.pack(key, value)
    assert (len(raw_key), len(raw_value)) == (table.key.size, table.value.size)
    assert table.key.unpack(raw_key) == key
    assert table.value.unpack(raw_value) == value


def test_networks_of_ipv4_have_the_bits_of_a_mapped_address() -> None:
    assert external.INSIDERS.key.pack("10.244.0.0/16")[:4] == struct.pack("=I", 112)
    assert external.INSIDERS.key.pack("fd00::/8")[:4] == struct.pack("=I", 8)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "pods"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text.partition("/")[0])):
        external.INSIDERS.key.pack(text)


def test_a_halved_attachment_is_not_whole() -> None:
    assert uplink.Attached(1, 2).whole
    assert not uplink.Attached(1, 0).whole

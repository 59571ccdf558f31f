"""`podwire dump ebpf` reads what programs at uplinks wrote of real traffic from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import uplink_stage
from flows.places import ADDRESSES
from scratch import until
from uplink_stage import NODEPORT, Stage, datagrams, node, say, talk, world

from podwire_core.family import FAMILIES, Family
from podwire_ebpf.external import TABLES

#: More than a link takes at once, so that it goes in parts.
LONG = 4000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with uplink_stage.stage(tmp_path_factory.mktemp("bpffs")) as made:
        made.attach()
        made.program(world("a"))
        yield made


def rows(stage: Stage, table: str, *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "podwire_node", "dump", "ebpf", table, "--json", *words]
    command += ["--folder", str(stage.plane.place.folder), "--socket", "/nonexistent/agent.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["tables"][table]["rows"]
    return found


def end(place: str, family: Family, port: int) -> str:
    address = ADDRESSES[place][family]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_is_two_rows_with_its_ends_and_what_they_become(
    stage: Stage, family: Family
) -> None:
    with talk(stage, node(family)) as client:
        say(client)
        mine = end("outside", family, client.getsockname()[1])
        there = {each["Way"]: each for each in rows(stage, "connections") if mine in str(each)}
    request, reply = there["request"], there["reply"]
    dialled, server = end("node", family, NODEPORT), end("a", family, 8080)
    assert (request["From"], request["To"], request["Becomes"]) == (mine, dialled, server)
    assert (reply["From"], reply["Becomes"]) == (server, dialled)
    assert request["Protocol"] == reply["Protocol"] == "TCP"
    assert "answered" in request["State"]


@pytest.mark.parametrize("family", FAMILIES)
def test_who_asked_once_is_in_opening_and_in_parts_in_fragments(
    stage: Stage, family: Family
) -> None:
    with datagrams(stage, family) as client:
        client.connect((node(family), NODEPORT))
        client.send(b"x" * LONG)
        mine = end("outside", family, client.getsockname()[1])
        until("it was sent on", lambda: mine in str(rows(stage, "opening")))
        until("its parts are known", lambda: mine in str(rows(stage, "fragments")))
        found = {each["Way"]: each for each in rows(stage, "opening") if mine in str(each)}
        (part,) = (each for each in rows(stage, "fragments") if each["From"] == mine)
    assert found["request"]["Protocol"] == part["Protocol"] == "UDP"
    assert (found["request"]["From"], found["request"]["Becomes"]) == (mine, end("a", family, 5353))
    assert part["To"] == end("node", family, NODEPORT)
    assert part["Number"].isdigit()


def test_who_is_in_the_cluster_is_networks(stage: Stage) -> None:
    told = {each["In the cluster"] for each in rows(stage, "insiders")}
    assert told == set(stage.external.insiders.read())
    assert told


def test_every_map_is_there_with_the_bytes_of_the_kernel(stage: Stage) -> None:
    for name, layout in TABLES.items():
        for each in rows(stage, name, "--raw"):
            assert len(bytes.fromhex(each["key"])) == layout.key.size, name
            assert len(bytes.fromhex(each["value"])) == layout.value.size, name

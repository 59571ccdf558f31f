"""The plugin in the agent's process: whose folder it uses, and what STATUS tells of the agent."""

import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.host import Host
from podwire_cni.leases import Leases, boot_id
from podwire_cni.ranges import AddressRange
from podwire_node.cni.calls.plugin import AgentPlugin
from podwire_node.cni.calls.readiness import Readiness
from podwire_node.cni.calls.refusal import LIMITED, UNAVAILABLE, Refusal, error_code
from podwire_node.cni.calls.wire import Answer, Request
from podwire_node.parts import Part

CONFIG = {"cniVersion": "1.1.0", "name": "podnet", "ranges": ["10.244.1.0/24"]}


class OurHost(Host):
    """One with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder


def call(plugin: AgentPlugin, command: str, stdin: bytes = b"", **config: object) -> Answer:
    environ = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin"}
    document = stdin or json.dumps(CONFIG | config).encode()
    return plugin(Request(environ, document), None, time.monotonic() + 10)


def test_the_agents_state_folder_wins(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert call(AgentPlugin(OurHost(ours)), "STATUS", stateDir=str(theirs)) == Answer(0)
    assert [each.exists() for each in (ours, theirs)] == [True, False]


@pytest.mark.parametrize("stdin", [b"[]", b"{", b"1", b"[" * 100_000, b"\xff\xfe\xfd"])
def test_a_configuration_that_is_no_object_is_one_error(tmp_path: Path, stdin: bytes) -> None:
    assert error_code(call(AgentPlugin(OurHost(tmp_path)), "GC", stdin)) == 6


class Work:
    """A part that stands as it is told to."""

    name = "routes"

    def __init__(self, *problems: str, settled: bool = True) -> None:
        self.problems, self.settled = problems, settled


def refusals(tmp_path: Path, *works: Work) -> Iterator[tuple[int, str]]:
    readiness = Readiness()
    parts = [Part(work, frozenset(), begun=True) for work in works]  # type: ignore[arg-type] # what is asked of one
    readiness.look(parts)
    try:
        call(AgentPlugin(OurHost(tmp_path), readiness), "STATUS")
    except Refusal as refusal:
        yield refusal.code, refusal.message


def test_status_is_well_while_the_parts_are(tmp_path: Path) -> None:
    assert list(refusals(tmp_path, Work())) == []


def test_status_is_50_until_the_first_sync(tmp_path: Path) -> None:
    told = list(refusals(tmp_path, Work(settled=False)))
    assert told == [(UNAVAILABLE, "the agent is not ready: routes")]


def test_status_is_51_where_what_is_in_force_failed(tmp_path: Path) -> None:
    told = list(refusals(tmp_path, Work("no way to node2"), Work(settled=False)))
    assert told == [(LIMITED, "no way to node2")]


@pytest.mark.parametrize(
    ("ranges", "code"),
    [(["10.0.0.0/31"], 7), (["10.0.0.0/30"], LIMITED), (["10.0.0.0/24"], LIMITED)],
)
def test_status_tells_the_worst_after_the_caller_s_own_mistakes(
    tmp_path: Path, ranges: list[str], code: int
) -> None:
    plugin = AgentPlugin(OurHost(tmp_path), Readiness())
    with Leases(tmp_path, boot_id()) as leases:  # of a /30 that is all
        one = AddressRange(ipaddress.ip_network("10.0.0.0/30"))
        leases.acquire(Attachment("podnet", "only", "eth0"), "", [one], 30)
    assert error_code(call(plugin, "STATUS", ranges=["10.0.0.0/30"])) == 50
    readiness = Readiness()
    readiness.verdict = LIMITED, "no way to node2"
    told = AgentPlugin(OurHost(tmp_path), readiness)
    try:
        found = error_code(call(told, "STATUS", ranges=ranges))
    except Refusal as refusal:
        found = refusal.code
    assert found == code

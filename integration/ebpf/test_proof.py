"""Whether sockets are served: asked of the kernel, and tried by a canary."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import bpf_place
import kernel_features
import pytest
from scratch import Netns, until

from podwire_ebpf import canary, features, links, pins, plane, proof
from podwire_ebpf.errors import BpfError
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane


def proved(netns: Netns, opened: Plane) -> proof.Proof:
    with netns.inside():
        return opened.prove()


def test_what_is_attached_is_proved_and_names_its_namespace(netns: Netns, opened: Plane) -> None:
    opened.attach()
    found = proved(netns, opened)
    assert found.ok
    assert found.missing == ()
    assert found.families == {"IPv4": True, "IPv6": True}
    assert found.sentence == "9 programs attached; canaries seen of IPv4 and IPv6"
    assert found.node_cookie
    if kernel_features.has("so_netns_cookie"):
        with netns.inside():
            assert found.node_cookie == features.netns_cookie()


def test_another_process_proves_it_too(netns: Netns, shared: Place, opened: Plane) -> None:
    opened.attach()
    with netns.inside():
        assert plane.prove(shared).ok


def test_nothing_attached_is_told(netns: Netns, opened: Plane) -> None:
    found = proved(netns, opened)
    assert not found.ok
    assert found.missing == tuple(hook.name for hook in HOOKS)
    assert found.node_cookie is None
    assert found.sentence.startswith("not attached: sock_release, ")


def test_a_hook_that_is_gone_is_named(netns: Netns, shared: Place, opened: Plane) -> None:
    opened.attach()
    (shared.folder / pins.LINKS / "pw_recvmsg6").unlink()
    until("it is gone", lambda: not links.in_effect(shared.cgroup)["recvmsg6"])
    assert proved(netns, opened).sentence == "not attached: recvmsg6"


def test_no_maps_are_one_sentence(shared: Place) -> None:
    empty = Place(shared.cgroup, shared.folder.with_name("empty"))
    with pytest.raises(BpfError, match="no maps of this version"):
        plane.prove(empty)


def test_a_canary_leaves_neither_a_cgroup_nor_a_process(netns: Netns, opened: Plane) -> None:
    opened.attach()
    for _ in range(3):
        proved(netns, opened)
    assert [each for each in opened.place.cgroup.iterdir() if each.name.startswith("podwire")] == []
    assert (opened.place.cgroup / "cgroup.procs").read_text() == ""


def test_a_process_in_the_cgroup_needs_no_child(
    netns: Netns, opened: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.attach()
    monkeypatch.setattr(proof, "_call_inside", lambda _: pytest.fail("a child was asked"))
    procs = opened.place.cgroup / "cgroup.procs"
    home = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    procs.write_text(str(os.getpid()))
    try:
        assert proved(netns, opened).ok
    finally:
        (bpf_place.cgroup2() / home / "cgroup.procs").write_text(str(os.getpid()))


def test_proofs_at_the_same_time_do_not_disturb_each_other(netns: Netns, opened: Plane) -> None:
    opened.attach()
    found: list[bool] = []

    def prove() -> None:
        found.append(proved(netns, opened).ok)

    threads = [threading.Thread(target=prove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_canary_that_others_crowd_out_calls_again(
    netns: Netns, opened: Plane, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Anybody may call where canaries do, and the table forgets who called first."""
    opened.attach()
    real, called = proof._call_inside, 0

    def call(cgroup: Path) -> dict[str, int]:
        nonlocal called
        called += 1
        cookies = real(cgroup)
        if called < 3:
            opened.tables.canaries.delete([cookies[family]])
        return cookies

    monkeypatch.setattr(proof, "_call_inside", call)
    assert proved(netns, opened).ok
    assert called == 3


def test_where_a_hook_is_missing_nobody_calls_again(
    netns: Netns, opened: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Path] = []
    real = proof._call_inside
    monkeypatch.setattr(proof, "_call_inside", lambda cgroup: called.append(cgroup) or real(cgroup))
    assert not proved(netns, opened).ok
    assert len(called) == 1


def test_what_a_killed_proof_left_is_removed(netns: Netns, opened: Plane) -> None:
    opened.attach()
    with subprocess.Popen(["true"]) as ended:
        pass
    left = opened.place.cgroup / f"podwire-canary-{ended.pid}-1"
    left.mkdir()
    assert proved(netns, opened).ok
    assert not left.exists()


def test_where_no_program_is_attached_a_canary_sends_nothing(netns: Netns) -> None:
    netns.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    netns.ip(
        [
            "link add up0 type veth peer name down0",
            "address add 198.51.100.1/24 dev up0",
            "link set down0 up",
            "link set up0 up",
            "neighbour add 198.51.100.2 lladdr 02:00:00:00:00:02 dev up0",
            "route add default via 198.51.100.2",
        ]
    )
    with netns.inside():
        assert set(canary.call()) == {"IPv4", "IPv6"}
    with netns.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        before = sent(netns)
        made.sendto(b"", ("192.0.0.8", 9))
        assert sent(netns) == before + 1
    assert before == 0


def sent(netns: Netns) -> int:
    words = netns.run("ip", "-stats", "link", "show", "dev", "up0").split("TX:")[1].split("\n")
    return int(words[1].split()[1])

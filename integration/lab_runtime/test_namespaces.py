"""Namespaces, links and the end of processes, on the real kernel."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podwire_lab.machine import cluster, namespaces, processes
from podwire_lab.topology import Lab

HERE = Path("/proc/thread-self/ns/net")
STUBBORN = "trap '' TERM; echo here; while :; do sleep 0.05; done"


@contextmanager
def shell(netns: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """A shell that runs inside when the block begins, and has ended when it is over."""
    argv = ["nsenter", f"--net={namespaces.path(netns)}", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_namespace_is_made_once_and_deleted_twice(lab: Lab) -> None:
    name = f"{lab.prefix}one"
    namespaces.create(name)
    with pytest.raises(FileExistsError):
        namespaces.create(name)
    assert namespaces.named(lab.prefix) == (name,)
    namespaces.delete(name)
    namespaces.delete(name)
    assert namespaces.named(lab.prefix) == ()
    assert name not in Path("/proc/self/mountinfo").read_text()


def test_a_half_made_name_is_deleted(lab: Lab) -> None:
    namespaces.path(f"{lab.prefix}half").touch()
    namespaces.delete(f"{lab.prefix}half")
    assert namespaces.named(lab.prefix) == ()


def test_a_visit_never_moves_the_caller(lab: Lab) -> None:
    name = f"{lab.prefix}one"
    namespaces.create(name)
    home = HERE.readlink()
    there = namespaces.inside(name, HERE.readlink)
    assert there != home
    assert HERE.readlink() == home


def test_making_names_again_and_again_mounts_the_folder_once(lab: Lab) -> None:
    for number in range(3):
        namespaces.create(f"{lab.prefix}n{number}")
    mounts = Path("/proc/self/mounts").read_text().split("\n")
    assert sum(line.split()[1:2] == ["/run/netns"] for line in mounts) == 1


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_node_reaches_the_fabric_at_once(wired: Lab, family: int) -> None:
    argv = ["ip", "netns", "exec", wired.nodes[0].netns]
    unsure = ["ip", "-6", "address", "show", "tentative"]
    shown = subprocess.run([*argv, *unsure], capture_output=True, text=True, check=True)
    assert shown.stdout == "", "no address waits for duplicates"
    ping = ["ping", "-c1", "-W10", wired.gateways[family]]
    assert subprocess.run([*argv, *ping], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_a_node_forwards(wired: Lab) -> None:
    argv = ["ip", "netns", "exec", wired.nodes[0].netns, "sysctl", "-n"]
    keys = [
        "net.ipv4.ip_forward",
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.uplink0.forwarding",
    ]
    output = subprocess.run([*argv, *keys], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["1", "1", "1"]


def test_a_process_that_will_not_go_is_killed_and_others_are_left_alone(lab: Lab) -> None:
    mine, other = f"{lab.prefix}mine", f"{lab.prefix}other"
    namespaces.create(mine)
    namespaces.create(other)
    with shell(mine, STUBBORN) as stubborn, shell(other, STUBBORN) as spared:
        with namespaces.membership([mine]) as inside:
            assert processes.end(inside, grace=0.2) >= 1
        assert stubborn.wait(5) == -signal.SIGKILL
        assert spared.poll() is None


def test_a_polite_process_is_not_killed(lab: Lab) -> None:
    name = f"{lab.prefix}one"
    namespaces.create(name)
    with shell(name, "trap 'exit 7' TERM; echo here; while :; do sleep 0.05; done") as polite:
        with namespaces.membership([name]) as inside:
            processes.end(inside, grace=5)
        assert polite.wait(5) == 7


def test_a_namespace_made_after_one_that_is_gone_is_never_taken_for_it(lab: Lab) -> None:
    namespaces.create(gone := f"{lab.prefix}gone")
    with namespaces.membership([gone]) as inside:
        namespaces.delete(gone)
        for number in range(5):  # the kernel gives numbers of namespaces anew at once
            namespaces.create(name := f"{lab.prefix}n{number}")
            with shell(name, STUBBORN) as later:
                assert not inside(later.pid)


def test_down_refuses_to_end_the_shell_it_is_asked_from(lab: Lab) -> None:
    name = f"{lab.prefix}one"
    namespaces.create(name)
    script = f"from podwire_lab.machine import cluster; cluster.down({lab.name!r})"
    argv = ["nsenter", f"--net={namespaces.path(name)}", sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "leave it first" in done.stderr
    assert cluster.labs().count(lab.name) == 1

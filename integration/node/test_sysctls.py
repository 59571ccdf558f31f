"""`podwire proxy` sets the kernel's parameters of its network namespace, and no other's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import Netns

MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def initialize(netns: Netns, *words: str) -> subprocess.CompletedProcess[str]:
    enter = ["nsenter", f"--net=/run/netns/{netns.name}"]
    command = [sys.executable, "-m", "podwire_node", "proxy", "--init-only", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*enter, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def parameter(netns: Netns, name: str) -> str:
    return netns.run("sysctl", "-n", f"net.{name}").strip()


@pytest.fixture
def netns(new_netns: Callable[[], Netns]) -> Netns:
    made = new_netns()
    if not MAX.exists():
        pytest.skip("the kernel tracks no connections: modprobe nf_conntrack")
    return made


def test_init_only_sets_what_kube_proxy_sets_and_ends(netns: Netns) -> None:
    machine = MAX.read_text()
    done = initialize(netns, "--conntrack-max-per-core=900000", "--conntrack-udp-timeout=77s")
    assert done.returncode == 0, done.stderr
    prefix = "netfilter.nf_conntrack"
    assert parameter(netns, f"{prefix}_tcp_timeout_established") == "86400"
    assert parameter(netns, f"{prefix}_tcp_timeout_close_wait") == "3600"
    assert parameter(netns, f"{prefix}_udp_timeout") == "77"
    assert parameter(netns, f"{prefix}_tcp_be_liberal") == "0"
    assert parameter(netns, "ipv4.conf.all.route_localnet") == "0"
    assert netns.run("nft", "list", "tables") == ""
    assert MAX.read_text() == machine  # it is not this namespace's to raise


def test_localhost_nodeports_need_a_parameter_of_their_own(netns: Netns) -> None:
    words = ("--nodeport-addresses=primary,localhost", "--conntrack-tcp-be-liberal")
    assert initialize(netns, *words).returncode == 0
    assert parameter(netns, "ipv4.conf.all.route_localnet") == "1"
    assert parameter(netns, "netfilter.nf_conntrack_tcp_be_liberal") == "1"


def test_zeros_leave_everything_as_it_is(netns: Netns) -> None:
    before = parameter(netns, "netfilter.nf_conntrack_tcp_timeout_established")
    words = ("--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0s")
    done = initialize(netns, *words, "--conntrack-max-per-core=0")
    assert done.returncode == 0
    assert parameter(netns, "netfilter.nf_conntrack_tcp_timeout_established") == before


def test_read_only_parameters_are_named(netns: Netns) -> None:
    """As in a container without privileges, whose /proc/sys is mounted read-only."""
    script = 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"'
    enter = ["nsenter", f"--net=/run/netns/{netns.name}", "unshare", "--mount", "sh", "-c", script]
    command = [sys.executable, "-m", "podwire_node", "proxy", "--init-only"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*enter, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 1
    assert "readOnlySysFS: /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_est" in done.stderr
    assert "Read-only file system" in done.stderr

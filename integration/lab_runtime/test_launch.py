"""What a container finds when it starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from podwire_lab.machine import namespaces
from podwire_lab.topology import Lab

LAUNCH = str(Path(namespaces.__file__).parents[1] / "kubelet" / "launch.py")


@pytest.fixture
def netns(lab: Lab) -> str:
    name = f"{lab.prefix}one"
    namespaces.create(name)
    return str(namespaces.path(name))


def launch(netns: str, tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    resolv, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    resolv.write_text("nameserver 10.96.0.10\n")
    hosts.write_text("10.244.1.5\tweb-0\n")
    argv = [
        sys.executable,
        "-I",
        "-S",
        LAUNCH,
        netns,
        "web-0",
        str(resolv),
        str(hosts),
        "",
        *command,
    ]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_a_container_has_its_own_name_resolver_hosts_and_links(netns: str, tmp_path: Path) -> None:
    before = (socket.gethostname(), Path("/etc/hosts").read_text())
    done = launch(
        netns, tmp_path, "sh", "-c", "hostname; cat /etc/resolv.conf /etc/hosts; ls /sys/class/net"
    )
    expected = ["web-0", "nameserver 10.96.0.10", "10.244.1.5\tweb-0", "lo"]
    assert done.stdout.splitlines() == expected
    assert (socket.gethostname(), Path("/etc/hosts").read_text()) == before


def test_a_container_leads_a_session_of_its_own(netns: str, tmp_path: Path) -> None:
    script = "import os; print(os.getsid(0) == os.getpid())"
    assert launch(netns, tmp_path, sys.executable, "-c", script).stdout == "True\n"


def test_a_container_s_exit_code_is_its_own(netns: str, tmp_path: Path) -> None:
    assert launch(netns, tmp_path, "sh", "-c", "exit 7").returncode == 7


def test_a_container_finds_its_account_and_leaves_no_trace_on_the_host(
    netns: str, tmp_path: Path
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("secret")
    there = sorted(each.name for each in Path("/run").iterdir())
    script = "cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo; ls -A /run; ls /mnt"
    argv = [sys.executable, "-I", "-S", LAUNCH, netns, "web-0", "", "", str(account), "sh", "-c"]
    done = subprocess.run([*argv, script], capture_output=True, text=True, check=True, timeout=10)
    token, *shown = done.stdout.splitlines()
    assert token == "secret"
    assert set(shown) >= {"secrets", *there} - {"."}
    assert Path("/run/secrets").exists() == ("secrets" in there)


def test_a_missing_command_is_one_sentence(netns: str, tmp_path: Path) -> None:
    done = launch(netns, tmp_path, "/no/such/command")
    assert done.returncode == 1
    assert done.stderr.startswith("podwire launch:")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("with_account", [False, True])
def test_a_deleted_namespace_is_not_kept_by_another_container(
    lab: Lab, tmp_path: Path, *, with_account: bool
) -> None:
    account = str(tmp_path) if with_account else ""
    staying, going = f"{lab.prefix}staying", f"{lab.prefix}going"
    namespaces.create(staying)
    namespaces.create(going)
    read_end, write_end = os.pipe()
    argv = (sys.executable, "-I", "-S", LAUNCH, str(namespaces.path(staying)), "h", "", "", account)
    script = "echo here; read line; grep -c going /proc/self/mounts"
    with subprocess.Popen(
        [*argv, "sh", "-c", script], stdin=read_end, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        namespaces.delete(going)
        os.write(write_end, b"\n")
        assert process.stdout.readline() == "0\n"
    os.close(read_end)
    os.close(write_end)

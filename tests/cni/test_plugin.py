"""The plugin as a function and as a process, as far as no kernel is needed."""

import inspect
import ipaddress
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from podwire_cni import errors, plugin, verbs
from podwire_cni.attachment import Attachment
from podwire_cni.host import ALONE, Host
from podwire_cni.leases import FILE_NAME, Lease, Leases, boot_id
from podwire_cni.ranges import AddressRange
from podwire_cni.spec import Command

ENVIRON = {
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/nowhere",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
PACKAGE = str(Path(plugin.__file__).parents[1])


def stdin(**keys: object) -> bytes:
    config = {"cniVersion": "1.1.0", "name": "podnet", "ranges": ["10.244.1.0/24"], **keys}
    return json.dumps({key: value for key, value in config.items() if value is not None}).encode()


def failed(
    command: str, config: bytes, environ: Mapping[str, str] = ENVIRON, host: Host = ALONE
) -> dict[str, Any]:
    outcome = plugin.run({**environ, "CNI_COMMAND": command}, config, host)
    assert outcome.exit_code == 1
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


def process(
    environ: Mapping[str, str], config: bytes = b"", *options: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *options, "-m", "podwire_cni"],
        input=config,
        env={**environ, "PYTHONPATH": PACKAGE},
        capture_output=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("command", "config", "code"),
    [
        ("ADD", stdin(cniVersion=None), 1),
        ("ADD", stdin(cniVersion="0.2.0"), 1),
        ("ADD", stdin(cniVersion="9.0.0"), 1),
        ("CHECK", stdin(cniVersion="0.3.1"), 1),
        ("GC", stdin(cniVersion="1.0.0"), 1),
        ("STATUS", stdin(cniVersion="1.0.0"), 1),
        ("SUB", stdin(), 4),
        ("ADD", b"{", 6),
        ("ADD", stdin(name=None), 7),
        ("DEL", stdin(name="a/b"), 7),
        ("ADD", stdin(ranges=None), 7),
        ("STATUS", stdin(ranges=[]), 7),
        ("CHECK", stdin(), 7),
        ("GC", stdin(), 7),
        ("ADD", stdin(), 8),
        ("STATUS", stdin(stateDir="/dev/null/x"), 50),
    ],
)
def test_each_failure_has_its_code(command: str, config: bytes, code: int) -> None:
    assert failed(command, config)["code"] == code


def test_an_error_echoes_the_version_and_has_a_message() -> None:
    document = failed("CHECK", stdin(cniVersion="0.3.1"))
    assert document == {
        "cniVersion": "0.3.1",
        "code": 1,
        "msg": "config version does not allow CHECK",
        "details": 'config is "0.3.1", CHECK exists since 0.4.0',
    }


def test_no_error_code_is_used_twice_and_ours_begin_at_100() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.CniError)
        if value is not errors.CniError
    ]
    codes = [kind.code for kind in classes]
    assert len(codes) == len(set(codes)) == 17
    assert {code for code in codes if code < 100} == {1, 2, 4, 5, 6, 7, 8, 11, 50}
    assert errors.__doc__ is not None
    for kind in classes:
        assert any(
            kind.__name__ in line and line.split()[2] == str(kind.code)
            for line in errors.__doc__.splitlines()
            if "──" in line
        ), kind


def test_status_does_not_wait_for_a_lock_that_nobody_gives_back(tmp_path: Path) -> None:
    with Leases(tmp_path, boot_id()):
        holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            document = failed("STATUS", stdin(stateDir=str(tmp_path)))
        finally:
            holder.close()
    assert document["code"] == 50
    assert "is locked" in document["msg"]


def test_a_fault_of_our_own_is_one_sentence_with_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(verbs.VERBS, Command.DEL, broken)
    document = failed("DEL", stdin())
    assert document["code"] == 199
    assert document["msg"] == "podwire-cni met a fault of its own: ZeroDivisionError: oops"
    assert document["details"].startswith("at test_plugin.py:")


def test_gc_goes_on_after_a_failure_and_reports_it(tmp_path: Path) -> None:
    attachments = [Attachment("podnet", name, "eth0") for name in ("a", "b", "c")]
    ranges = [AddressRange(ipaddress.ip_network("10.244.1.0/24"))]
    with Leases(tmp_path, boot_id()) as leases:
        for attachment in attachments:
            leases.acquire(attachment, "default/web", ranges, cooldown=30)

    class Refusing(Host):
        def forget(self, lease: Lease) -> None:
            if lease.attachment.container == "b":
                raise errors.KernelRefused("kernel refused `host: link del`: No buffer space")

    config = stdin(stateDir=str(tmp_path), **{"cni.dev/valid-attachments": []})
    document = failed("GC", config, host=Refusing())
    assert document["code"] == 104
    assert document["msg"] == "1 attachments could not be removed"
    assert document["details"].startswith("b/eth0: kernel refused")
    with Leases(tmp_path, boot_id()) as leases:
        assert leases.attachments("podnet") == [attachments[1]]


def test_without_a_command_it_tells_what_it_is_on_stderr() -> None:
    done = process({})
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0" in done.stderr


def test_version_echoes_and_lists() -> None:
    done = process({"CNI_COMMAND": "VERSION"}, b'{"cniVersion":"0.4.0"}')
    assert json.loads(done.stdout) == {
        "cniVersion": "0.4.0",
        "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_version_answers_although_stdin_stays_open() -> None:
    read_end, write_end = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "podwire_cni"],
            stdin=read_end,
            env={"CNI_COMMAND": "VERSION", "PYTHONPATH": PACKAGE},
            capture_output=True,
            check=True,
            timeout=30,
        )
    finally:
        os.close(read_end)
        os.close(write_end)
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("command", ["VERSION", "STATUS", "DEL"])
def test_commands_that_need_no_kernel_load_no_pyroute2(command: str, tmp_path: Path) -> None:
    environ = {**ENVIRON, "CNI_COMMAND": command}
    done = process(environ, stdin(stateDir=str(tmp_path)), "-X", "importtime")
    assert done.returncode == 0
    assert b"json" in done.stderr
    assert b"pyroute2" not in done.stderr
    assert (b"sqlite3" in done.stderr) is (command != "VERSION")


def test_a_closed_stdin_is_an_io_failure() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m podwire_cni <&-', sys.executable],
        env={**ENVIRON, "CNI_COMMAND": "ADD", "PYTHONPATH": PACKAGE, "PATH": os.defpath},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert json.loads(done.stdout)["code"] == 5
    assert done.stderr == b""


def test_a_failure_is_json_on_stdout_and_nothing_on_stderr() -> None:
    done = process({**ENVIRON, "CNI_COMMAND": "ADD"}, b"nonsense")
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["code"] == 6
    assert done.stdout.count(b"\n") == 1


def test_del_of_the_never_added_is_silent_and_creates_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environ = {**ENVIRON, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    for _ in range(2):
        assert plugin.run(environ, stdin(stateDir=str(state))) == plugin.Outcome()
    assert not state.exists()


def test_host_ports_that_nothing_serves_are_error_2_and_named() -> None:
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    document = failed("ADD", stdin(runtimeConfig=ports))
    assert document["code"] == 2
    assert document["msg"] == "runtimeConfig.portMappings: nothing here serves [*:8080/tcp]"


def test_a_hosts_state_directory_wins_over_the_configurations(tmp_path: Path) -> None:
    class Elsewhere(Host):
        state_dir = tmp_path / "agent"

    environ = {**ENVIRON, "CNI_COMMAND": "STATUS"}
    config = stdin(stateDir=str(tmp_path / "configured"))
    assert plugin.run(environ, config, Elsewhere()) == plugin.Outcome()
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]


def test_del_forgets_the_lease_before_it_is_released(tmp_path: Path) -> None:
    attachment = Attachment("podnet", "abc", "eth0")
    ranges = [AddressRange(ipaddress.ip_network("10.244.1.0/24"))]
    forgotten: list[Lease] = []

    class Watching(Host):
        def forget(self, lease: Lease) -> None:
            with Leases(tmp_path, boot_id()) as leases:
                assert leases.find(attachment) == lease
            forgotten.append(lease)

    with Leases(tmp_path, boot_id()) as leases:
        leases.acquire(attachment, "default/web", ranges, cooldown=30)
    environ = {**ENVIRON, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    config = stdin(stateDir=str(tmp_path))
    for _ in range(2):
        assert plugin.run(environ, config, Watching()) == plugin.Outcome()
    assert [lease.attachment for lease in forgotten] == [attachment]


def test_the_descriptor_is_the_namespace_and_stays_the_callers(tmp_path: Path) -> None:
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        config = stdin(stateDir=str(tmp_path))
        outcome = plugin.run({**ENVIRON, "CNI_COMMAND": "ADD"}, config, netns=netns)
        assert os.fstat(netns)
    finally:
        os.close(netns)
    assert json.loads(outcome.stdout)["msg"].endswith("is the plugin's own namespace")

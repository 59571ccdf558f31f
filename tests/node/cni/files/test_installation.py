"""`podwire install`: files only where they differ, and a conflist only when ADD is served."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from podwire_node.cli import main
from podwire_node.cni.calls.wire import (
    HEADER_BYTES,
    Answer,
    decode_request,
    encode_answer,
    request_sizes,
)
from podwire_node.cni.files import install, installation
from podwire_node.cni.files.install import client_differs, install_client

CIDRS = "10.244.1.0/24,fd00:10:244:1::/64"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's root: opt, etc, run, and a client that somebody has built."""
    built = [tmp_path / "built"]
    built[0].write_bytes(b"\x7fELF client")
    monkeypatch.setattr(installation, "install_client", lambda to: install_client(to, built))
    monkeypatch.setattr(installation, "client_differs", lambda to: client_differs(to, built))
    (tmp_path / "run").mkdir()
    return tmp_path


def run(host: Path, *more: str) -> Result:
    folders = {
        "--cni-conf-dir": "etc/net.d",
        "--cni-bin-dir": "opt/bin",
        "--cni-socket": "run/cni.sock",
        "--cni-state-dir": "run/cni",
    }
    arguments = [word for name, path in folders.items() for word in (name, str(host / path))]
    return CliRunner().invoke(main, ["install", *arguments, "--json", *more])


def outcomes(result: Result) -> dict[str, str]:
    return {Path(row["file"]).name: row["outcome"] for row in json.loads(result.output)["rows"]}


def reason(result: Result, name: str) -> str:
    rows = json.loads(result.output)["rows"]
    return next(str(row["why"]) for row in rows if Path(row["file"]).name == name)


@contextmanager
def agent(host: Path, *answers: Answer) -> Iterator[list[bytes]]:
    """One that answers STATUS so, the last for ever; and what it was asked."""
    heard: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(host / "run/cni.sock"))
    listener.listen()

    def serve() -> None:
        with suppress(OSError):
            for number in range(1000):
                accepted, _ = listener.accept()
                with accepted:
                    message = accepted.recv(1 << 16)
                    environment, _ = request_sizes(message[:HEADER_BYTES])
                    body = message[HEADER_BYTES:]
                    request = decode_request(body[:environment], body[environment:])
                    assert request.command == "STATUS"
                    heard.append(request.stdin)
                    accepted.sendall(encode_answer(answers[min(number, len(answers) - 1)]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


UP = Answer(0)
DOWN = Answer(1, b'{"cniVersion":"1.1.0","code":50,"msg":"policies are not read yet"}')


def test_client_and_conflist_are_installed_once(host: Path) -> None:
    with agent(host, UP) as heard:
        first = run(host, "--pod-cidrs", CIDRS)
        assert (first.exit_code, set(outcomes(first).values())) == (0, {"installed"})
        again = run(host, "--pod-cidrs", CIDRS)
        assert set(outcomes(again).values()) == {"unchanged"}
    (config,) = heard
    document = json.loads((host / "etc/net.d/10-podwire.conflist").read_text())
    assert document["plugins"][0]["ranges"] == CIDRS.split(",")
    asked = json.loads(config)
    assert (asked["cniVersion"], asked["name"]) == ("1.1.0", "podwire")
    assert asked["ranges"] == CIDRS.split(",")


def test_nobody_is_told_of_a_network_that_is_not_served(host: Path) -> None:
    alone = run(host, "--pod-cidrs", CIDRS)
    assert alone.exit_code == 1
    assert outcomes(alone) == {"podwire": "installed", "10-podwire.conflist": "failed"}
    assert "--wait" in reason(alone, "10-podwire.conflist")
    with agent(host, DOWN):
        refused = run(host, "--pod-cidrs", CIDRS)
    assert "policies are not read yet" in reason(refused, "10-podwire.conflist")
    assert not (host / "etc").exists()


def test_it_waits_for_an_agent_that_comes_and_for_one_that_is_not_ready(host: Path) -> None:
    results: list[Result] = []
    arguments = (host, "--pod-cidrs", CIDRS, "--wait", "30")
    waiting = threading.Thread(target=lambda: results.append(run(*arguments)))
    waiting.start()
    with agent(host, DOWN, DOWN, UP) as heard:
        waiting.join(60)
    assert outcomes(results[0])["10-podwire.conflist"] == "installed"
    assert len(heard) == 3


def test_it_waits_no_longer_than_it_is_told(host: Path) -> None:
    begun = time.monotonic()
    with agent(host, DOWN):
        result = run(host, "--pod-cidrs", CIDRS, "--wait", "0.5")
    assert result.exit_code == 1
    assert 0.5 <= time.monotonic() - begun < 25


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"PWA1" + b"\xff" * 8]
)
def test_an_agent_that_talks_nonsense_is_none(host: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host / "run/cni.sock"))
        listener.listen()

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert outcomes(run(host, "--pod-cidrs", CIDRS))["10-podwire.conflist"] == "failed"
        thread.join(10)


def test_a_dry_run_writes_nothing_and_says_what_it_would_wait_for(host: Path) -> None:
    result = run(host, "--pod-cidrs", CIDRS, "--dry-run", "--wait", "30")
    assert (result.exit_code, set(outcomes(result).values())) == (0, {"would be installed"})
    assert "no agent answers" in reason(result, "10-podwire.conflist")
    assert not (host / "etc").exists()
    assert not (host / "opt").exists()


def test_without_pod_cidrs_those_that_are_there_are_kept(host: Path) -> None:
    first = run(host)
    assert (first.exit_code, outcomes(first)["10-podwire.conflist"]) == (1, "failed")
    assert "--pod-cidrs" in reason(first, "10-podwire.conflist")
    with agent(host, UP):
        run(host, "--pod-cidrs", CIDRS)
        changed = run(host, "--mtu", "1400")
    assert outcomes(changed)["10-podwire.conflist"] == "installed"
    (entry,) = json.loads((host / "etc/net.d/10-podwire.conflist").read_text())["plugins"]
    assert (entry["ranges"], entry["mtu"]) == (CIDRS.split(","), 1400)


def test_the_mtu_that_an_agent_wrote_stays(host: Path) -> None:
    path = host / "etc/net.d/10-podwire.conflist"
    with agent(host, UP):
        run(host, "--pod-cidrs", CIDRS, "--mtu", "1400")
        again = run(host, "--pod-cidrs", CIDRS)
        assert set(outcomes(again).values()) == {"unchanged"}
        run(host, "--mtu", "0")
    assert "mtu" not in json.loads(path.read_text())["plugins"][0]


def test_the_plugin_that_works_alone_needs_neither_client_nor_agent(host: Path) -> None:
    (host / "opt/bin").mkdir(parents=True)
    (host / "opt/bin/podwire-cni").symlink_to("/bin/true")
    result = run(host, "--cni-plugin", "podwire-cni", "--pod-cidrs", CIDRS)
    assert outcomes(result) == {"podwire-cni": "unchanged", "10-podwire.conflist": "installed"}


def test_a_plugin_that_runtimes_would_not_find_is_told(host: Path) -> None:
    result = run(host, "--cni-plugin", "podwire-cni", "--pod-cidrs", CIDRS)
    assert result.exit_code == 1
    assert outcomes(result) == {"podwire-cni": "failed", "10-podwire.conflist": "left"}
    _, command = reason(result, "podwire-cni").split(": ")
    (host / "opt/bin").mkdir(parents=True)
    subprocess.run(shlex.split(command), check=True)
    assert (host / "opt/bin/podwire-cni").readlink().name == "podwire-cni"


def test_no_path_is_cut_in_the_table(host: Path) -> None:
    arguments = ["install", "--dry-run", "--cni-conf-dir", f"{host}/{'long' * 20}"]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "80"})
    assert "…" not in result.output


def test_without_a_client_there_is_no_conflist(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> bool:
        raise install.ClientMissing("`make client` builds it")

    monkeypatch.setattr(installation, "client_differs", missing)
    with agent(host, UP):
        result = run(host, "--pod-cidrs", CIDRS)
    assert result.exit_code == 1
    assert outcomes(result) == {"podwire": "failed", "10-podwire.conflist": "left"}


def test_another_network_that_comes_first_is_named(host: Path) -> None:
    (host / "etc/net.d").mkdir(parents=True)
    (host / "etc/net.d/05-other.conflist").write_text("{}")
    result = run(host, "--dry-run", "--pod-cidrs", CIDRS)
    assert outcomes(result)["05-other.conflist"] == "left"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cni-conf-dir", "relative"], "cniConfDir"),
        (["--mtu", "5"], "mtu"),
        (["--cni-plugin", "bridge"], "cniPlugin"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_a_bad_setting_is_one_sentence(host: Path, arguments: list[str], message: str) -> None:
    result = run(host, *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_folders_come_from_the_agents_file(host: Path) -> None:
    file = host / "config.yaml"
    file.write_text(f"cniConfDir: {host}/a\ncniBinDir: {host}/b\ncniSocket: {host}/run/cni.sock\n")
    with agent(host, UP):
        arguments = ["install", "--config", str(file), "--pod-cidrs", CIDRS]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert (host / "a/10-podwire.conflist").exists()
    assert (host / "b/podwire").exists()


def test_pod_cidrs_that_are_none_are_told(host: Path) -> None:
    result = run(host, "--pod-cidrs", "10.244.1.0/24,10.244.2.0/24")
    assert outcomes(result)["10-podwire.conflist"] == "failed"
    assert "10.244.2.0/24" in reason(result, "10-podwire.conflist")

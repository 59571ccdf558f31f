"""The plugin as a process: what it is given, and what becomes of one that misbehaves."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from podwire_node.cni.program import PluginProgram
from podwire_node.cni.refusal import Refusal
from podwire_node.cni.wire import Answer, Request

ENVIRON = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/a/path"}
CONFIG = b'{"cniVersion":"0.4.0","name":"podnet"}'


def run(code: str, command: str = "ADD", netns: int | None = None, seconds: float = 20) -> Answer:
    """Run this Python in the plugin's place."""
    plugin = PluginProgram(Path("/ours"))
    plugin._argv = (sys.executable, "-I", "-c", code)  # type: ignore[assignment]
    request = Request({**ENVIRON, "CNI_COMMAND": command}, CONFIG)
    return plugin(request, netns, time.monotonic() + seconds)


def test_the_real_plugin_is_found() -> None:
    answer = PluginProgram(Path("/ours"))(
        Request({"CNI_COMMAND": "CHECK"}, CONFIG), None, time.monotonic() + 30
    )
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["code"] == 4


def test_it_gets_the_call_the_namespace_and_our_state_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")
    netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = run(
            "import json, os, sys; print(json.dumps([dict(os.environ), json.load(sys.stdin),"
            "sorted(map(int, os.listdir('/proc/self/fd')))]))",
            netns=netns,
        )
    finally:
        os.close(netns)
        os.close(other)
    environ, config, descriptors = json.loads(answer.stdout)
    environ.pop("LC_CTYPE", None)  # Python's own, for a caller without a locale
    assert environ == {
        **ENVIRON,
        "PODWIRE_NETNS_FD": str(netns),
        "PODWIRE_CALLER": str(os.getpid()),
    }
    assert config == {"cniVersion": "0.4.0", "name": "podnet", "stateDir": "/ours"}
    assert netns in descriptors
    assert other not in descriptors


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("STATUS", 50)])
def test_one_that_hangs_is_stopped(command: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        run("import time; time.sleep(60)", command, seconds=0.3)
    assert (refused.value.code, refused.value.version) == (code, "0.4.0")
    assert f"the plugin's {command} took too long" in str(refused.value)


def test_one_that_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podwire_node.cni.program._PATIENCE", 0.3)
    begun = time.monotonic()
    with pytest.raises(Refusal):
        run(
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
            seconds=0.5,
        )
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("code", ["import os; os.kill(os.getpid(), 9)", "print('x' * (2 << 20))"])
def test_one_that_dies_or_talks_without_end_is_an_error(code: str) -> None:
    with pytest.raises(Refusal) as refused:
        run(code)
    assert refused.value.code == 5
    assert json.loads(refused.value.answer.stdout)["cniVersion"] == "0.4.0"


def test_what_it_says_beside_the_answer_is_logged_and_not_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = run("import sys; print('{}'); print('first\\nlast', file=sys.stderr)")
    assert answer == Answer(0, b"{}\n")
    assert "last" in caplog.text
    assert "first" not in caplog.text

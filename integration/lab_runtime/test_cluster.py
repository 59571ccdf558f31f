"""From nothing to ready and back, and back from halfway."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import until

from podwire_lab import visit
from podwire_lab.folders import Folders
from podwire_lab.machine import cluster, daemons, namespaces
from podwire_lab.topology import Lab, plan_lab

MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  containers: [{name: main, command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]}]
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    file = tmp_path / "web.yaml"
    file.write_text(MANIFESTS)
    return file


def podwire(lab: Lab, *words: str) -> list[str]:
    script = "from podwire_lab.cli import lab; lab(prog_name='podwire lab')"
    return [sys.executable, "-c", script, words[0], "--name", lab.name, *words[1:]]


def run(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        podwire(lab, *words), capture_output=True, text=True, check=False, timeout=90
    )


def test_up_status_exec_logs_restart_down(
    lab: Lab, manifests: Path, gone: Callable[[str], bool]
) -> None:
    done = run(lab, "up", "--nodes", "2", str(manifests))
    assert done.returncode == 0, done.stderr
    status = json.loads(run(lab, "status", "--json").stdout)
    assert [row["agent"]["ready"] for row in status["nodes"]] == [True, True]
    assert all(row["ready"] for row in status["pods"])
    assert run(lab, "exec", "deploy/web", "--", "sh", "-c", "exit 7").returncode == 7
    assert run(lab, "exec", "wob", "--", "true").stderr.count("Error: no pod 'wob'") == 1
    assert run(lab, "logs", "stubborn").returncode == 0
    made = Folders.of(lab.name).load()
    assert visit.run(made, "stubborn", ["hostname"]).stdout == "stubborn\n"
    before = daemons.agent_pid(made, made.nodes[0])
    assert cluster.restart_agent(made, "node1") != before
    cluster.wait_until_ready(made, timeout=20)
    assert "is there already" in run(lab, "up").stderr
    removed = run(lab, "down")
    assert removed.returncode == 0
    assert gone(lab.name)
    assert "nothing was there" in run(lab, "down").stdout


HALFWAY: dict[str, Callable[[Lab], bool]] = {
    "the folder is there": lambda lab: Folders.of(lab.name).root.exists(),
    "the first namespace is there": lambda lab: bool(namespaces.named(lab.prefix)),
    "the controller runs": lambda lab: (Folders.of(lab.name).root / "controller.log").exists(),
    "the first pod has its namespace": lambda lab: bool(namespaces.named(f"{lab.prefix}pod.")),
}


@pytest.mark.parametrize("moment", HALFWAY)
def test_down_leaves_nothing_of_an_up_that_was_killed_when(
    moment: str, lab: Lab, manifests: Path, gone: Callable[[str], bool]
) -> None:
    with subprocess.Popen(podwire(lab, "up", str(manifests)), stderr=subprocess.DEVNULL) as up:
        until(moment, lambda: HALFWAY[moment](lab))
        up.kill()
    cluster.down(lab.name)
    assert gone(lab.name)


def test_down_needs_no_lab_json(wired: Lab, gone: Callable[[str], bool]) -> None:
    daemons.start_runner(wired, wired.nodes[0])
    Folders.of(wired.name).lab_file.unlink()
    assert cluster.down(wired.name)
    assert gone(wired.name)
    assert not cluster.down(wired.name)


def test_ctrl_c_during_up_takes_the_lab_down(
    lab: Lab, manifests: Path, gone: Callable[[str], bool]
) -> None:
    with subprocess.Popen(
        podwire(lab, "up", str(manifests)), stderr=subprocess.PIPE, text=True
    ) as up:
        until("the node is there", lambda: namespaces.path(lab.nodes[0].netns).exists())
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=30)
    assert up.returncode == 1
    assert "interrupted: the lab is taken down again" in errors
    assert gone(lab.name)


def test_down_touches_no_other_lab(wired: Lab) -> None:
    other = plan_lab(f"{wired.name}x", 1)
    namespaces.create(other.fabric)
    try:
        cluster.down(wired.name)
        assert namespaces.named(other.prefix) == (other.fabric,)
    finally:
        cluster.down(other.name)


@pytest.mark.parametrize("name", ["../x", "", "a.b", "pod/x", "x" * 21])
def test_a_name_that_no_lab_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lab name"):
        cluster.down(name)


def test_up_as_an_ordinary_user_is_one_sentence_and_makes_nothing(
    lab: Lab, gone: Callable[[str], bool]
) -> None:
    nobody = 65534
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(nobody)
        try:
            cluster.up(lab)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            os.write(write_end, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        assert told.read() == "Unmet: podwire makes network namespaces: run it as root (sudo)"
    assert gone(lab.name)


def test_a_lab_that_does_not_get_ready_is_left_and_says_what_is_missing(
    lab: Lab, tmp_path: Path
) -> None:
    probe = {"tcpSocket": {"port": 9}, "periodSeconds": 1}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "never"},
        "spec": {"containers": [{"name": "main", "readinessProbe": probe}]},
    }
    file = tmp_path / "never.json"
    file.write_text(json.dumps(pod))
    for seconds in ("4", "20", "60"):  # a busy machine has no pod after four
        done = run(lab, "up", "--timeout", seconds, "--nodes", "1", str(file))
        assert done.returncode == 1
        if "pod default/never: Running, not ready" in done.stderr:
            break
        cluster.down(lab.name)
    assert "pod default/never: Running, not ready" in done.stderr
    assert f"`podwire lab down --name {lab.name}`" in done.stderr
    assert namespaces.named(lab.prefix)


def test_a_path_that_is_not_there_stops_up_before_anything_is_made(
    lab: Lab, gone: Callable[[str], bool]
) -> None:
    done = run(lab, "up", "nowhere.yaml")
    assert (done.returncode, done.stderr) == (1, "Error: nowhere.yaml: No such file or directory\n")
    assert gone(lab.name)


def test_of_two_ups_at_once_one_makes_the_lab_and_the_other_leaves_it_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Folders.of(lab.name)  # has its folder, and no namespace yet
    winner.claim()
    winner.fill(lab)
    monkeypatch.setattr(cluster, "down", lambda *_: pytest.fail("took the winner's lab down"))
    with pytest.raises(cluster.NotUp, match="is there already"):
        cluster.up(lab)
    monkeypatch.undo()
    assert Folders.of(lab.name).load() == lab


BROKEN = """
apiVersion: v1
kind: Service
metadata: {name: broken}
spec: {ports: [{port: 99999}]}
"""
IGNORED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"


@pytest.mark.parametrize(("text", "code"), [(BROKEN, 1), (IGNORED, 0)], ids=["broken", "ignored"])
def test_up_with_a_manifest_left_out_shows_the_lab_and_exits_with(
    text: str, code: int, lab: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    done = run(lab, "up", "--nodes", "1", "--json", str(file))
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["nodes"][0]["agent"]["ready"]


def test_apply_of_nothing_is_one_sentence(wired: Lab, tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.touch()
    done = run(wired, "apply", str(file))
    assert done.returncode == 1
    assert done.stderr == f"Error: nothing to apply: there are no documents in {file}\n"


def test_logs_that_are_followed_end_with_the_lab(lab: Lab, manifests: Path) -> None:
    assert run(lab, "up", "--nodes", "1", str(manifests)).returncode == 0
    log = Folders.of(lab.name).pod("default", "stubborn") / "main.log"
    with subprocess.Popen(
        podwire(lab, "logs", "-f", "stubborn"), stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        with log.open("a") as file:
            file.write("one line\n")
        assert follower.stdout.readline() == "one line\n"
        cluster.down(lab.name)
        assert follower.stdout.read() == ""  # nobody holds the pipe any more, tail neither
        assert follower.wait(timeout=10) == 0


def test_logs_that_are_followed_end_with_their_pod(lab: Lab, manifests: Path) -> None:
    assert run(lab, "up", "--nodes", "1", str(manifests)).returncode == 0
    with subprocess.Popen(
        podwire(lab, "logs", "-f", "stubborn"), stdout=subprocess.DEVNULL
    ) as follower:
        assert run(lab, "delete", "pod/stubborn").returncode == 0
        follower.wait(timeout=20)

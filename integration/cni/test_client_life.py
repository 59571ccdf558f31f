"""A pod's life through the client and the agent's server, with real runtimes' own library."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import control_plane
import pytest
from client_build import build
from scratch import until

from podwire_node.cni.files.conflist import conflist
from podwire_node.cni.files.install import install_client, install_conflist

from .client_program import Client, serving
from .conftest import CLEAN, RANGES, Node, Pod, addresses, finish

MakePod = Callable[[], Pod]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("client"))


@pytest.fixture
def client(program: Path, node: Node, tmp_path: Path) -> Client:
    return Client(program, node, tmp_path / "run/cni.sock")


@pytest.fixture
def served(client: Client) -> Iterator[Client]:
    """The client, with an agent that answers."""
    with serving(client.node, client.socket):
        yield client


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_each_version_lives_its_whole_life(served: Client, pod: Pod, version: str) -> None:
    node = served.node
    result = served.add(pod, cniVersion=version)
    assert result["cniVersion"] == version
    assert result["interfaces"][1]["sandbox"] == pod.namespace.path
    assert all(node.namespace.pings(address) for address in addresses(result))
    check = served.call("CHECK", pod, cniVersion=version, prevResult=result)
    assert check.code == (1 if version < "0.4.0" else 0), check
    for _ in range(2):
        gone = served.call("DEL", pod, cniVersion=version, prevResult=result)
        assert (gone.exit_code, gone.stdout, gone.stderr) == (0, "", "")
    assert node.traces() == CLEAN


def test_status_and_gc_reach_the_agent(served: Client, pod: Pod) -> None:
    assert served.call("STATUS").exit_code == 0
    served.add(pod)
    assert served.call("GC").code == 7
    assert served.call("GC", **{"cni.dev/valid-attachments": []}).exit_code == 0
    assert served.node.traces() == CLEAN


def test_the_plugins_errors_pass_unchanged(served: Client, pod: Pod) -> None:
    own = served.node.namespace.path
    assert served.call("ADD", pod, netns=own).json["msg"].endswith("is the plugin's own namespace")
    assert served.call("ADD", pod, netns="/etc/hosts").json == {
        "cniVersion": "1.1.0",
        "code": 8,
        "msg": "CNI_NETNS: '/etc/hosts' is not a network namespace",
    }
    assert served.call("ADD", pod, ranges=None).code == 7
    assert served.call("CHECK", pod).code == 7
    assert served.node.traces() == CLEAN


def test_a_namespace_that_only_the_client_can_open_is_enough(served: Client, pod: Pod) -> None:
    descriptor = os.open(pod.namespace.path, os.O_RDONLY)
    try:
        path = f"/proc/self/fd/{descriptor}"
        process = served.start("ADD", pod, netns=path, descriptors=[descriptor])
        result = finish(process).json
        assert result["interfaces"][1]["sandbox"] == path
        check = served.start("CHECK", pod, netns=path, descriptors=[descriptor], prevResult=result)
        assert finish(check).exit_code == 0
    finally:
        os.close(descriptor)
    assert served.call("DEL", pod, netns="").exit_code == 0
    assert served.node.traces() == CLEAN


def test_leases_are_where_the_agent_wants_them(served: Client, pod: Pod, tmp_path: Path) -> None:
    served.add(pod, stateDir=str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()
    assert served.node.leases() == [pod.container]


def test_an_agent_that_restarts_knows_its_pods(client: Client, pod: Pod) -> None:
    with serving(client.node, client.socket):
        result = client.add(pod)
    # Nobody is there; the path is, from the last one.
    assert client.call("STATUS").code == 50
    assert client.node.namespace.pings(addresses(result)[0])
    process = client.start("CHECK", pod, prevResult=result)
    with serving(client.node, client.socket):
        assert finish(process).exit_code == 0
        assert client.call("DEL", pod).exit_code == 0
    assert client.node.traces() == CLEAN


def test_a_del_without_an_agent_succeeds_and_is_done_before_the_next_one_serves(
    client: Client, make_pod: MakePod
) -> None:
    gone, kept = make_pod(), make_pod()
    with serving(client.node, client.socket):
        client.add(gone)
        client.add(kept)
    for _ in range(2):
        answer = client.call("DEL", gone)
        assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "")
    assert client.node.leases() == sorted([gone.container, kept.container])
    with serving(client.node, client.socket):
        assert client.node.leases() == [kept.container]
        assert list(client.queue.iterdir()) == []
        assert client.call("DEL", kept).exit_code == 0
    assert client.node.traces() == CLEAN


def test_a_queued_del_never_removes_a_newer_pod(client: Client, pod: Pod) -> None:
    with serving(client.node, client.socket):
        client.add(pod)
    client.call("DEL", pod)
    with serving(client.node, client.socket):
        result = client.add(pod)
        assert list(client.queue.iterdir()) == []
        assert client.node.leases() == [pod.container]
        assert client.node.namespace.pings(addresses(result)[0])
        client.call("DEL", pod)
    assert client.node.traces() == CLEAN


def test_a_del_that_is_queued_while_the_agent_serves_is_done_before_that_containers_add(
    served: Client, pod: Pod, tmp_path: Path
) -> None:
    """As by a client that found nobody, and wrote after somebody had come."""
    for _ in range(10):
        served.add(pod)
        assert served.to(tmp_path / "nobody.sock").call("DEL", pod).exit_code == 0
        result = served.add(pod)
    assert served.node.namespace.pings(addresses(result)[0])
    assert served.call("CHECK", pod, prevResult=result).exit_code == 0
    assert served.call("DEL", pod).exit_code == 0
    assert served.node.traces() == CLEAN


def test_a_del_that_is_queued_while_the_agent_serves_is_done_unasked(
    served: Client, pod: Pod, tmp_path: Path
) -> None:
    served.add(pod)
    assert served.to(tmp_path / "nobody.sock").call("DEL", pod).exit_code == 0
    until("it is done", lambda: served.node.traces() == CLEAN)
    until("its file is gone", lambda: list(served.queue.iterdir()) == [])


def test_a_queued_del_needs_no_namespace_and_enters_none(client: Client, make_pod: MakePod) -> None:
    """The path may be another pod's by the time that an agent is there."""
    old, other = make_pod(), make_pod()
    with serving(client.node, client.socket):
        client.add(old)
        result = client.add(other)
    assert client.call("DEL", old, netns=other.namespace.path).exit_code == 0
    with serving(client.node, client.socket):
        assert client.node.leases() == [other.container]
        assert client.node.namespace.pings(addresses(result)[0])
        client.call("DEL", other)
    assert client.node.traces() == CLEAN


def test_dels_of_thirty_pods_without_an_agent_are_all_done_by_the_next(
    client: Client, make_pod: MakePod
) -> None:
    pods = [make_pod() for _ in range(30)]
    with serving(client.node, client.socket):
        added = [finish(process) for process in [client.start("ADD", pod) for pod in pods]]
        assert {answer.exit_code for answer in added} == {0}
    removed = [finish(process) for process in [client.start("DEL", pod) for pod in pods]]
    assert {answer.exit_code for answer in removed} == {0}
    with serving(client.node, client.socket):
        assert client.node.traces() == CLEAN


def test_agents_that_come_and_go_under_load_leak_nothing(client: Client, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(12)]
    for _ in range(3):
        with serving(client.node, client.socket):
            adding = [client.start("ADD", pod) for pod in pods]
            until("some are done", lambda: len(client.node.leases()) > 3)
        with serving(client.node, client.socket):
            for process in adding:
                finish(process)
            removing = [client.start("DEL", pod) for pod in pods]
            until("some are done", lambda: len(client.node.leases()) < 9)
        answers = [finish(process) for process in removing]
        assert {answer.exit_code for answer in answers} == {0}, answers
    with serving(client.node, client.socket):
        assert client.node.traces() == CLEAN


def test_a_new_agent_takes_over_from_one_that_still_runs(client: Client, make_pod: MakePod) -> None:
    first, second = make_pod(), make_pod()
    with serving(client.node, client.socket):
        client.add(first)
        with serving(client.node, client.socket):
            client.add(second)
    with serving(client.node, client.socket):
        for pod in (first, second):
            assert client.call("DEL", pod).exit_code == 0
    assert client.node.traces() == CLEAN


def test_twenty_pods_start_and_end_at_once(served: Client, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(20)]
    answers = [finish(process) for process in [served.start("ADD", pod) for pod in pods]]
    assert {answer.exit_code for answer in answers} == {0}
    given = {address for answer in answers for address in addresses(answer.json)}
    assert len(given) == 40
    assert len(served.node.traces()["links"]) == 20
    answers = [finish(process) for process in [served.start("DEL", pod) for pod in pods]]
    assert {answer.exit_code for answer in answers} == {0}
    assert served.node.traces() == CLEAN


def test_a_del_comes_after_the_add_that_its_runtime_gave_up(served: Client, pod: Pod) -> None:
    process = served.start("ADD", pod)
    process.kill()
    finish(process)
    assert served.call("DEL", pod).exit_code == 0
    assert served.node.traces() == CLEAN


def test_clients_killed_at_any_moment_leak_nothing(served: Client, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(12)]
    processes = []
    for pod in pods:
        processes.append(served.start("ADD", pod))
        if len(processes) % 3 == 0:  # at the latest while the fourth works
            processes[-3].kill()
    for process in processes:
        finish(process)
    answers = [finish(process) for process in [served.start("DEL", pod) for pod in pods]]
    assert {answer.exit_code for answer in answers} == {0}
    assert served.node.traces() == CLEAN


@pytest.fixture
def cnitool(
    program: Path, node: Node, tmp_path: Path
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """cnitool with what the agent installs; its cache is the test's own."""
    tool = control_plane.programs() / "cnitool"
    socket, config, library = (tmp_path / name for name in ("run/cni.sock", "net.d", "lib"))
    install_client(tmp_path / "bin", [program])
    library.mkdir()
    install_conflist(config, conflist(RANGES, 1400, "podwire", socket, node.state_dir))

    def run(verb: str, pod: Pod) -> subprocess.CompletedProcess[str]:
        private = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /var/lib && exec "$@"']
        return subprocess.run(
            [*private, str(library), str(tool), verb, "podwire", pod.namespace.path],
            env={
                "PATH": os.environ["PATH"],
                "NETCONFPATH": str(config),
                "CNI_PATH": str(tmp_path / "bin"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    with serving(node, socket):
        yield run


def test_cnitool_takes_what_the_agent_installs(
    cnitool: Callable[..., subprocess.CompletedProcess[str]], node: Node, pod: Pod
) -> None:
    done = cnitool("add", pod)
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    assert result["cniVersion"] == "1.0.0"
    (link,) = pod.namespace.ip("link", "show", "dev", "eth0")
    assert link["mtu"] == 1400
    assert all(node.namespace.pings(address) for address in addresses(result))
    assert cnitool("check", pod).returncode == 0
    pod.namespace.run("ip", "link", "set", "eth0", "down")
    assert "pod: link eth0 is down" in cnitool("check", pod).stderr
    for _ in range(2):
        done = cnitool("del", pod)
        assert (done.returncode, done.stdout) == (0, "")
    assert node.traces() == CLEAN

"""What a pod may ask for by runtimeConfig: a hardware address, and bandwidth."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from .conftest import CLEAN, Node, Pod, addresses

MakePod = Callable[[], Pod]
MAC = "02:00:5e:00:53:17"
MEGABIT = 1_000_000


def test_a_pod_gets_the_hardware_address_it_asks_for(node: Node, pod: Pod) -> None:
    wish = {"runtimeConfig": {"mac": MAC.upper()}}
    result = node.add(pod, **wish)
    assert result["interfaces"][1]["mac"] == MAC
    (seen,) = pod.namespace.ip("link", "show", "dev", "eth0")
    assert seen["address"] == MAC
    assert all(node.namespace.pings(address) for address in addresses(result))
    assert node.call("CHECK", pod, prevResult=result, **wish).exit_code == 0


def test_check_learns_the_hardware_address_from_the_previous_result(node: Node, pod: Pod) -> None:
    result = node.add(pod, runtimeConfig={"mac": MAC})
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0


def test_a_changed_hardware_address_is_named_with_the_neighbours_it_cuts_off(
    node: Node, pod: Pod
) -> None:
    result = node.add(pod)
    pod.namespace.run("ip", "link", "set", "eth0", "address", MAC)
    result["interfaces"][1]["mac"] = MAC  # as a later plugin would tell
    answer = node.call("CHECK", pod, prevResult=result)
    assert answer.code == 102
    assert f"host: neigh 10.244.1.2 lladdr {MAC}" in answer.json["details"]


def limits(**words: int) -> dict[str, object]:
    return {"runtimeConfig": {"bandwidth": words}}


def filters(node: Node, pod: Pod) -> list[str]:
    """The root qdiscs of the node's end and the pod's, as tc tells them."""
    link = pod.attachment.host_name
    return [
        node.namespace.run("tc", "qdisc", "show", "dev", link, "root").strip(),
        pod.namespace.run("tc", "qdisc", "show", "dev", "eth0", "root").strip(),
    ]


def test_each_direction_has_a_bucket_of_its_own(node: Node, pod: Pod) -> None:
    wish = limits(
        ingressRate=8 * MEGABIT,
        ingressBurst=1_600_000,
        egressRate=80 * MEGABIT,
        egressBurst=2**32 - 1,
    )
    result = node.add(pod, mtu=1400, **wish)
    into, out = filters(node, pod)
    assert "tbf" in into
    assert "rate 8Mbit burst 200000b" in into
    assert "tbf" in out
    assert "rate 80Mbit burst 1000000b" in out
    assert node.call("CHECK", pod, prevResult=result, **wish).exit_code == 0
    assert all(node.namespace.pings(address) for address in addresses(result))
    assert node.call("DEL", pod, **wish).exit_code == 0
    assert node.traces() == CLEAN


@pytest.mark.parametrize("rate", [1, 1000, 2**35, 2**36 + 8, 2**63 - 1])
def test_the_smallest_and_the_largest_rates_are_taken(node: Node, pod: Pod, rate: int) -> None:
    wish = limits(ingressRate=rate, egressRate=rate)
    result = node.add(pod, **wish)
    assert node.call("CHECK", pod, prevResult=result, **wish).exit_code == 0
    words = node.namespace.run(
        *("tc", "-json", "qdisc", "show", "dev", pod.attachment.host_name, "root")
    )
    assert json.loads(words)[0]["options"]["rate"] == max(1, rate // 8)


@pytest.mark.parametrize("side", ["pod", "host"])
def test_check_names_a_missing_bucket(node: Node, pod: Pod, side: str) -> None:
    wish = limits(ingressRate=MEGABIT, egressRate=MEGABIT)
    result = node.add(pod, **wish)
    namespace, link = {
        "pod": (pod.namespace, "eth0"),
        "host": (node.namespace, pod.attachment.host_name),
    }[side]
    namespace.run("tc", "qdisc", "del", "dev", link, "root")
    answer = node.call("CHECK", pod, prevResult=result, **wish)
    assert answer.code == 102
    assert f"{side}: qdisc dev {link} root tbf rate 1000000bit is missing" in answer.json["msg"]


def test_check_names_a_bucket_of_another_rate(node: Node, pod: Pod) -> None:
    result = node.add(pod, **limits(egressRate=MEGABIT))
    answer = node.call("CHECK", pod, prevResult=result, **limits(egressRate=2 * MEGABIT))
    assert "tbf rate 2000000bit is missing" in answer.json["msg"]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_what_is_limited_takes_its_time(node: Node, pod: Pod, direction: str) -> None:
    """300 KB through 1 MB/s with a bucket of 20 KB: the rest takes a quarter of a second."""
    result = node.add(
        pod, **limits(**{f"{direction}Rate": 8 * MEGABIT, f"{direction}Burst": 160_000})
    )
    receiver, sender = (
        (pod.namespace, node.namespace)
        if direction == "ingress"
        else (node.namespace, pod.namespace)
    )
    target = addresses(result)[0] if direction == "ingress" else "192.0.2.1"
    sink = subprocess.Popen(
        ["nsenter", f"--net={receiver.path}", sys.executable, "-c", SINK, target],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sink.stdout is not None
        port = sink.stdout.readline().strip()
        took = [float(sender.run(sys.executable, "-c", SOURCE, target, port)) for _ in range(3)]
        assert min(took) > 0.2
        assert min(took) < 3, "not even once, on a busy machine"
    finally:
        sink.kill()
        sink.communicate()


SINK = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    while connection.recv(65536):
        pass
    connection.close()
"""
SOURCE = """
import socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as connection:
    start = time.monotonic()
    connection.sendall(bytes(300_000))
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
    print(time.monotonic() - start)
"""

"""The commands that look after pods: CHECK, GC, STATUS."""

from collections.abc import Callable

import pytest

from .conftest import CLEAN, Node, Pod, addresses

MakePod = Callable[[], Pod]
MakeNode = Callable[..., Node]


@pytest.mark.parametrize(
    ("side", "damage", "named"),
    [
        ("pod", "ip addr del {ip} dev eth0", "pod: addr 10.244.1.2/32"),
        ("pod", "ip addr del {ip6} dev eth0", "pod: addr fd00:10:244:1::2/128"),
        ("pod", "ip route del default", "pod: route 0.0.0.0/0 via 169.254.1.1"),
        ("pod", "ip -6 route del default", "pod: route ::/0 via fe80::1"),
        ("pod", "ip neigh del 169.254.1.1 dev eth0", "pod: neigh 169.254.1.1"),
        ("pod", "ip link set eth0 address 02:00:00:00:00:07", "has address 02:00:00:00:00:07"),
        ("pod", "ip link set eth0 down", "pod: link eth0 is down"),
        ("pod", "ip link set eth0 down name eth7", "pod: link eth0 is missing"),
        ("pod", "ip link del eth0", "is missing"),
        ("host", "ip route del {ip}", "host: route 10.244.1.2/32"),
        ("host", "ip -6 route del {ip6}", "host: route fd00:10:244:1::2/128"),
        ("host", "ip neigh del {ip} dev {link}", "host: neigh 10.244.1.2"),
        ("host", "ip link set {link} down", "is down"),
        ("host", "ip link del {link}", "is missing"),
        ("host", "sysctl -q net.ipv4.ip_forward=0", "ip_forward = 1 is missing"),
        ("host", "sysctl -q net.ipv4.conf.{link}.rp_filter=0", "rp_filter = 1 is missing"),
        ("host", "sysctl -q net.ipv6.conf.all.forwarding=0", "forwarding = 1 is missing"),
    ],
)
def test_check_names_the_damage(node: Node, pod: Pod, side: str, damage: str, named: str) -> None:
    result = node.add(pod)
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0
    ip, ip6 = addresses(result)
    link = result["interfaces"][0]["name"]
    namespace = pod.namespace if side == "pod" else node.namespace
    namespace.run(*damage.format(ip=ip, ip6=ip6, link=link).split())
    answer = node.call("CHECK", pod, prevResult=result)
    assert answer.code == 102
    assert named in answer.json["msg"]


def test_check_needs_the_lease(node: Node, pod: Pod) -> None:
    result = node.add(pod)
    (node.state_dir / "leases.db").unlink()
    answer = node.call("CHECK", pod, prevResult=result)
    assert (answer.code, answer.json["msg"][:9]) == (102, "no lease ")


def test_check_compares_the_lease_with_the_previous_result(node: Node, pod: Pod) -> None:
    result = node.add(pod)
    result["ips"][0]["address"] = "10.244.1.99/32"
    answer = node.call("CHECK", pod, prevResult=result)
    assert answer.json["msg"] == "prevResult lacks the leased addresses [10.244.1.2/32]"


def test_check_permits_what_a_later_plugin_did(node: Node, pod: Pod) -> None:
    result = node.add(pod)
    pod.namespace.run("ip", "link", "set", "eth0", "mtu", "1400")
    pod.namespace.run("ip", "link", "add", "eth1", "type", "veth")
    pod.namespace.run("ip", "addr", "add", "192.0.2.77/32", "dev", "eth0")
    loose = f"net.ipv4.conf.{result['interfaces'][0]['name']}.rp_filter=2"
    node.namespace.run("sysctl", "-qw", loose)  # as udev does, systemd's 50-default.conf
    result["interfaces"].append({"name": "eth1", "sandbox": pod.namespace.path})
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_removes_what_is_not_listed_and_nothing_else(
    node: Node, make_pod: MakePod, key: str
) -> None:
    kept, lost, vanished = (make_pod() for _ in range(3))
    result = node.add(kept)
    for pod in (lost, vanished):
        node.add(pod)
    vanished.namespace.remove()
    valid = {"containerID": kept.container, "ifname": "eth0"}
    answer = node.call("GC", **{key: [valid]})
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert node.traces()["leases"] == [kept.container]
    assert node.traces()["links"] == [kept.attachment.host_name]
    assert node.call("CHECK", kept, prevResult=result).exit_code == 0


def test_gc_with_an_empty_list_collects_the_whole_network_but_no_other(
    node: Node, make_pod: MakePod
) -> None:
    ours, foreign = make_pod(), make_pod()
    node.add(ours)
    result = node.add(foreign, name="other")
    assert node.call("GC", **{"cni.dev/valid-attachments": []}).exit_code == 0
    assert node.leases() == [foreign.container]
    assert node.call("CHECK", foreign, name="other", prevResult=result).exit_code == 0
    node.call("DEL", foreign, name="other")
    assert node.traces() == CLEAN


def test_gc_without_the_list_is_refused_and_collects_nothing(node: Node, pod: Pod) -> None:
    node.add(pod)
    before = node.traces()
    assert node.call("GC").code == 7
    assert node.traces() == before


def test_status_follows_the_last_address(make_node: MakeNode, make_pod: MakePod) -> None:
    node, first, second = make_node(["10.244.1.0/30"]), make_pod(), make_pod()
    assert node.call("STATUS") == node.call("DEL", first)  # both silent, both 0
    node.add(first)
    assert node.call("STATUS").code == 50
    answer = node.call("ADD", second)
    assert answer.code == 100
    assert answer.json["msg"] == "no address left in 10.244.1.0/30: 1 of 1 leased"
    node.call("DEL", first)
    assert node.call("STATUS").exit_code == 0
    node.add(second)


def test_status_is_50_when_the_state_directory_is_unusable(node: Node) -> None:
    node.state_dir.write_text("not a folder")
    assert node.call("STATUS").code == 50


def test_add_is_5_and_leaves_nothing_when_the_state_directory_is_unusable(
    node: Node, pod: Pod
) -> None:
    node.state_dir.write_text("not a folder")
    assert node.call("ADD", pod).code == 5
    assert node.traces()["links"] == []

"""A pod's life: ADD, packets in every direction, CHECK, DEL, DEL again."""

import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from .conftest import CLEAN, NODE_ADDRESSES, UPLINK_MTU, Node, Pod, addresses, finish

MakePod = Callable[[], Pod]
MakeNode = Callable[..., Node]


def test_packets_flow_in_all_directions_from_the_first_one_on(
    node: Node, make_pod: MakePod
) -> None:
    here, there = make_pod(), make_pod()
    for address in addresses(node.add(here)):
        assert node.namespace.pings(address)
    targets = addresses(node.add(there))
    for address in (*targets, *NODE_ADDRESSES.values()):
        assert here.namespace.pings(address)


@pytest.mark.parametrize("ranges", [["10.244.1.0/24"], ["fd00:10:244:1::/64"]])
def test_one_family_alone_works(make_node: MakeNode, make_pod: MakePod, ranges: list[str]) -> None:
    node, here, there = make_node(ranges), make_pod(), make_pod()
    node.add(here)
    (address,) = addresses(node.add(there))
    assert here.namespace.pings(address)
    assert node.namespace.pings(address)


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_each_version_lives_its_whole_life(node: Node, pod: Pod, version: str) -> None:
    result = node.add(pod, cniVersion=version)
    assert result["cniVersion"] == version
    assert all(node.namespace.pings(address) for address in addresses(result))
    check = node.call("CHECK", pod, cniVersion=version, prevResult=result)
    assert check.code == (1 if version < "0.4.0" else 0), check
    gone = node.call("DEL", pod, cniVersion=version, prevResult=result)
    assert (gone.exit_code, gone.stdout, gone.stderr) == (0, "", "")
    assert node.traces() == CLEAN


def test_the_result_tells_what_the_kernel_has(node: Node, pod: Pod) -> None:
    host, inner = node.add(pod)["interfaces"]
    (seen,) = node.namespace.ip("link", "show", "dev", host["name"])
    assert (seen["address"], seen["mtu"]) == (host["mac"], host["mtu"])
    (seen,) = pod.namespace.ip("link", "show", "dev", "eth0")
    assert (seen["address"], seen["mtu"]) == (inner["mac"], inner["mtu"])
    assert inner["sandbox"] == pod.namespace.path
    assert inner["mtu"] == UPLINK_MTU  # the default-route link's


def test_the_configured_mtu_wins(node: Node, pod: Pod) -> None:
    assert node.add(pod, mtu=1400)["interfaces"][1]["mtu"] == 1400


def test_both_ends_are_named_after_the_pod(node: Node, pod: Pod) -> None:
    name = node.add(pod)["interfaces"][0]["name"]
    for namespace, link in ((node.namespace, name), (pod.namespace, "eth0")):
        (seen,) = namespace.ip("link", "show", "dev", link)
        assert seen["ifalias"] == f"default/{pod.container}"


def test_the_pod_has_no_address_but_its_own(node: Node, pod: Pod) -> None:
    result = node.add(pod)
    (seen,) = pod.namespace.ip("addr", "show", "dev", "eth0")
    held = [(a["local"], a["prefixlen"], a.get("tentative")) for a in seen["addr_info"]]
    assert held == [
        (address, length, None)
        for address, length in zip(addresses(result), (32, 128), strict=True)
    ]


def test_the_nodes_end_has_no_address_at_all(node: Node, pod: Pod) -> None:
    name = node.add(pod)["interfaces"][0]["name"]
    (seen,) = node.namespace.ip("addr", "show", "dev", name)
    assert seen["addr_info"] == []
    assert seen["operstate"] == "UP"  # what leaves it now is not dropped


def test_ipv6_works_where_a_new_link_has_none_by_default(node: Node, pod: Pod) -> None:
    for namespace in (node.namespace, pod.namespace):
        namespace.run("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")
    assert all(node.namespace.pings(address) for address in addresses(node.add(pod)))


def test_a_pod_cannot_borrow_an_ipv4_address(node: Node, make_pod: MakePod) -> None:
    thief, victim = make_pod(), make_pod()
    node.add(thief)
    stolen = addresses(node.add(victim))[0]
    thief.namespace.run("ip", "addr", "add", f"{stolen}/32", "dev", "eth0")
    assert not thief.namespace.pings(NODE_ADDRESSES[4], "-I", stolen, patience=1)
    assert node.namespace.pings(stolen)  # and its owner still answers


def test_del_twice_is_silent(node: Node, pod: Pod) -> None:
    node.add(pod)
    for _ in range(2):
        answer = node.call("DEL", pod)
        assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "")
    assert node.traces() == CLEAN
    assert [link["ifname"] for link in pod.namespace.ip("link")] == ["lo"]


@pytest.mark.parametrize("netns", ["", "/run/netns/pwt-no-such", None])
def test_del_needs_no_namespace(node: Node, pod: Pod, netns: str | None) -> None:
    node.add(pod)
    pod.namespace.remove()
    assert node.call("DEL", pod, netns=netns).exit_code == 0
    assert node.traces() == CLEAN


def test_del_with_an_empty_netns_removes_the_link_of_a_living_pod(node: Node, pod: Pod) -> None:
    node.add(pod)
    assert node.call("DEL", pod, netns="").exit_code == 0
    assert node.traces() == CLEAN


def test_del_of_the_never_added_is_silent(node: Node, make_pod: MakePod) -> None:
    other = make_pod()
    node.add(other)
    before = node.traces()
    assert node.call("DEL", make_pod()).exit_code == 0
    assert node.traces() == before


def test_del_forgives_ranges_that_were_broken_later(node: Node, pod: Pod) -> None:
    node.add(pod)
    assert node.call("DEL", pod, ranges=["nonsense"]).exit_code == 0
    assert node.traces() == CLEAN


def test_a_late_del_does_not_harm_the_new_owner(make_node: MakeNode, make_pod: MakePod) -> None:
    node, old, new = make_node(["10.244.1.0/30"]), make_pod(), make_pod()
    node.add(old)
    node.call("DEL", old)
    result = node.add(new)
    assert node.call("DEL", old).exit_code == 0
    assert node.call("CHECK", new, prevResult=result).exit_code == 0
    assert node.namespace.pings(*addresses(result))


def test_a_late_del_after_lost_leases_does_not_harm_the_new_owner(
    node: Node, make_pod: MakePod
) -> None:
    old, new = make_pod(), make_pod()
    before = node.add(old)
    (node.state_dir / "leases.db").unlink()
    result = node.add(new)
    assert addresses(result) == addresses(before)
    assert all(node.namespace.pings(address) for address in addresses(result))
    assert node.call("DEL", old).exit_code == 0
    assert node.call("CHECK", new, prevResult=result).exit_code == 0
    assert all(node.namespace.pings(address) for address in addresses(result))


def test_add_again_replaces_our_own_leftover_and_keeps_the_addresses(node: Node, pod: Pod) -> None:
    first = node.add(pod)
    again = node.add(pod)
    assert again == first
    assert all(node.namespace.pings(address) for address in addresses(again))


def test_add_refuses_a_foreign_interface_and_leaves_it(node: Node, pod: Pod) -> None:
    pod.namespace.run("ip", "link", "add", "eth0", "type", "veth", "peer", "other")
    answer = node.call("ADD", pod)
    assert (answer.code, answer.json["msg"]) == (101, "the pod already has an interface eth0")
    assert node.traces() == CLEAN
    assert [link["ifname"] for link in pod.namespace.ip("link")] == ["lo", "other", "eth0"]


def test_a_second_interface_is_refused_and_the_first_unharmed(node: Node, pod: Pod) -> None:
    result = node.add(pod)
    before = node.traces()
    answer = node.call("ADD", replace(pod, interface="net1"))
    assert answer.code == 103
    assert "route 169.254.1.1/32 dev net1" in answer.json["msg"]
    assert node.traces() == before
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0
    assert all(node.namespace.pings(address) for address in addresses(result))


def test_add_in_the_nodes_own_namespace_is_refused(node: Node, pod: Pod) -> None:
    assert node.call("ADD", pod, netns=node.namespace.path).code == 8
    assert node.traces() == CLEAN


def test_add_into_a_file_is_refused(node: Node, pod: Pod) -> None:
    assert node.call("ADD", pod, netns="/etc/hostname").code == 8
    assert node.call("ADD", pod, netns="/proc/self/ns/uts").code == 8
    assert node.traces() == CLEAN


def test_a_chained_add_passes_the_previous_result_on(node: Node, pod: Pod) -> None:
    previous = {"cniVersion": "1.1.0", "interfaces": [{"name": "br0"}], "dns": {"domain": "x"}}
    result = node.add(pod, prevResult=previous)
    assert [interface["name"] for interface in result["interfaces"]][::2] == ["br0", "eth0"]
    assert [ip["interface"] for ip in result["ips"]] == [2, 2]
    assert result["dns"] == {"domain": "x"}
    assert node.call("CHECK", pod, prevResult=result).exit_code == 0


def test_twenty_adds_at_once_give_twenty_pods_that_answer(node: Node, make_pod: MakePod) -> None:
    pods = [make_pod() for _ in range(20)]
    processes: list[subprocess.Popen[str]] = [node.start("ADD", pod) for pod in pods]
    answers = [finish(process) for process in processes]
    assert [answer.exit_code for answer in answers] == [0] * 20, answers
    given = [addresses(answer.json) for answer in answers]
    assert len({address for pair in given for address in pair}) == 40
    assert all(node.namespace.pings(address) for pair in given for address in pair)
    deletions = [node.start("DEL", pod) for pod in pods]
    assert [finish(process).exit_code for process in deletions] == [0] * 20
    assert node.traces() == CLEAN

"""Session affinity: the chains and elements of a sticky Service, and what a change leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from proxy_stage import Stage, endpoints, node, service, sticky

from podwire_core.family import FAMILIES, Family
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import Protocol

LOCAL: dict[str, Any] = {"externalTrafficPolicy": "Local"}
BOTH_LOCAL: dict[str, Any] = {"internalTrafficPolicy": "Local", **LOCAL}


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.put(node(cidrs=["10.244.0.0/16"]))
    return made


def own(stage: Stage) -> set[str]:
    """Chains that are there for this Service alone."""
    return {name for name in stage.names("chain") if _is_id(name.rpartition("-")[2])}


def _is_id(text: str) -> bool:
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


def kinds(stage: Stage) -> list[str]:
    """The same without their numbers."""
    return sorted(name.rpartition("-")[0] for name in own(stage))


def touched(sent: Transaction) -> set[str]:
    """Chains that a transaction flushes, fills or deletes."""
    words = (line.split() for line in str(sent).splitlines())
    return {row[4] for row in words if row[1] in {"chain", "rule"}}


def in_sets(sent: Transaction) -> dict[str, int]:
    """How many elements of each set a transaction adds or deletes."""
    found: dict[str, int] = {}
    for row in (line.split() for line in str(sent).splitlines()):
        if row[1] == "element":
            found[row[4]] = found.get(row[4], 0) + 1
    return found


# What there is


def test_a_sticky_service_asks_what_is_remembered_and_then_chooses(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", 1, 2))
    assert kinds(stage) == ["keep", "remember"]
    verdict = stage.elements("sticky")["10.96.0.10 . tcp . 80"]
    assert verdict.startswith("goto keep-")
    assert stage.elements("remembered")["10.96.0.10 . tcp . 80"].startswith("goto remember-")
    assert len(stage.elements("members-tcp")) == 2


def test_cluster_ip_and_nodeport_and_balancer_share_what_they_remember(stage: Stage) -> None:
    stage.put(
        sticky("web", nodePort=30000, balancer=["1.1.1.1"], externalIPs=["2.2.2.2"]),
        endpoints("web", 1, 2),
    )
    assert kinds(stage) == ["keep", "nodeport-keep", "remember"]
    assert len({name[-16:] for name in own(stage)}) == 1
    remembered = {*stage.elements("remembered").values()}
    assert remembered == {*stage.elements("remembered-nodeports").values()}
    assert len(stage.elements("members-tcp")) == 2


def test_each_port_and_each_service_remembers_for_itself(stage: Stage) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    stage.put(sticky("web", ports=ports), sticky("two", "10.96.0.11"))
    for name in ("a", "b"):
        stage.put(endpoints("web", 1, name=name, port={"name": name, "port": 8080}))
    stage.put(endpoints("two", 1))
    assert len(stage.elements("members-tcp")) == 3
    assert len(set(stage.elements("sticky").values())) == 3


def test_a_port_that_is_called_like_another_s_number_remembers_for_itself(stage: Stage) -> None:
    stage.put(sticky("web", ports=[{"port": 80}, {"name": "80", "port": 81}]))
    stage.put(endpoints("web", 1), endpoints("web", 2, name="b", port={"name": "80", "port": 1}))
    assert len({key.rsplit(" . ", 2)[0] for key in stage.elements("members-tcp")}) == 2


def test_protocols_remember_apart(stage: Stage) -> None:
    ports = [{"name": "dns", "port": 53, "protocol": each} for each in Protocol]
    stage.put(sticky("web", ports=ports))
    for each in Protocol:
        port = {"name": "dns", "port": 53, "protocol": each}
        stage.put(endpoints("web", 1, name=each.nft, port=port))
    assert [len(stage.elements(f"members-{each.nft}")) for each in Protocol] == [1, 1, 1]
    assert kinds(stage) == ["keep"] * 3 + ["remember"] * 3


def test_families_remember_apart(stage: Stage) -> None:
    both = ["10.96.0.10", "fd00:10:96::a"]
    stage.put(sticky("web", clusterIPs=both), endpoints("web", 1))
    stage.put(endpoints("web", 1, 2, name="six", family="IPv6"))
    assert len(stage.elements("members-tcp")) == 1
    assert len(stage.elements("members-tcp", "ip6")) == 2


def test_who_is_in_the_cluster_remembers_apart_from_the_world(stage: Stage) -> None:
    stage.put(sticky("web", nodePort=30000, **LOCAL), endpoints("web", 1, 2, 3, here=[1]))
    assert kinds(stage) == [
        "keep",  # the ClusterIP
        "nodeport-keep",  # pods that dial the NodePort: all endpoints
        "nodeport-keep-local",  # the world: those here
        "nodeport-split",
        "remember",
        "remember",
        "remember-split",
    ]
    assert len(stage.elements("members-tcp")) == 4, "three of all, and one of those here"


def test_both_policies_local_share_what_the_world_and_pods_remember_of_this_node(
    stage: Stage,
) -> None:
    each = sticky("web", nodePort=30000, balancer=["1.1.1.1"], **BOTH_LOCAL)
    stage.put(each, endpoints("web", 1, 2, here=[1]))
    inside = stage.elements("remembered")["10.96.0.10 . tcp . 80"].removeprefix("goto remember-")
    assert {name for name in own(stage) if name.endswith(inside)} == {
        f"keep-{inside}",
        f"keep-local-{inside}",
        f"nodeport-keep-local-{inside}",
        f"remember-{inside}",
    }
    assert len(stage.elements("members-tcp")) == 3


def test_a_service_whose_endpoints_are_all_elsewhere_drops_the_world(stage: Stage) -> None:
    stage.put(sticky("web", nodePort=30000, **BOTH_LOCAL), endpoints("web", 1, 2))
    assert "10.96.0.10 . tcp . 80" not in stage.elements("remembered")
    assert stage.elements("unavailable") == {"10.96.0.10 . tcp . 80": "drop"}
    assert stage.elements("unavailable-nodeports") == {"tcp . 30000": "drop"}
    assert kinds(stage) == ["nodeport-keep", "nodeport-split", "remember", "remember-split"]


def test_a_service_without_endpoints_remembers_no_one(stage: Stage) -> None:
    before = set(stage.in_force)
    stage.put(sticky("web", nodePort=30000, **LOCAL))
    new = {key[2:4] for key in set(stage.in_force) - before if len(key) == 5}
    assert own(stage) == set()
    assert new == {
        ("element", "cluster-ips"),
        ("element", "external-nodeports"),
        ("element", "unavailable"),
        ("element", "unavailable-nodeports"),
    }


# What a change leaves alone


@pytest.mark.parametrize("spec", [{}, {"nodePort": 30000}, {"nodePort": 30000, **BOTH_LOCAL}])
def test_a_rolling_update_of_one_endpoint_touches_what_is_its_own(
    stage: Stage, spec: dict[str, Any]
) -> None:
    stage.put(sticky("web", **spec), endpoints("web", *range(1, 11), here=[1, 2, 3]))
    before = stage.in_force
    sent = stage.put(endpoints("web", *range(1, 10), 99, here=[1, 2, 3]))
    assert touched(sent) == set(), "no chain"
    changed = dict(before.items() ^ stage.in_force.items())
    for key, value in changed.items():
        assert "10.244.0.10 " in f"{key[-1]} {value}" or "10.244.0.99 " in f"{key[-1]} {value}"


def test_an_endpoint_more_changes_no_one_s_memory(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", 1, 2))
    remember = stage.elements("remembered")
    sent = stage.put(endpoints("web", 1, 2, 3))
    assert in_sets(sent) == {"endpoints-tcp": 1, "members-tcp": 1}, "the frontend's way stays"
    assert [name.rpartition("-")[0] for name in touched(sent)] == ["keep"]
    assert stage.elements("remembered") == remember


def test_another_timeout_rewrites_how_long_is_remembered_and_nothing_else(stage: Stage) -> None:
    stage.put(sticky("web", nodePort=30000, timeout=60), endpoints("web", 1, 2))
    sent = stage.put(sticky("web", nodePort=30000, timeout=120))
    (chain,) = touched(sent)
    assert chain.startswith("remember-")
    assert sent.counts() == {("flush", "chain"): 1, ("add", "rule"): 1}
    assert "timeout 120s" in str(sent)


def test_affinity_comes_and_goes_live(stage: Stage) -> None:
    stage.put(service("web", nodePort=30000), endpoints("web", 1, 2))
    before = stage.in_force
    stage.services.forgetful.clear()
    sent = stage.put(sticky("web", nodePort=30000))
    assert in_sets(sent) == {
        "choices": 1,  # whose chain goes on, but not by its number
        "frontends": 1,
        "nodeports": 1,
        "sticky": 1,
        "sticky-nodeports": 1,
        "members-tcp": 2,
        "remembered": 1,
        "remembered-nodeports": 1,
    }
    assert not stage.services.forgetful, "who comes has nothing to be forgotten"
    stage.put(service("web", nodePort=30000))
    assert stage.in_force == before
    assert stage.services.forgetful == {(Family.IPV4, Protocol.TCP)}


def test_one_service_s_change_leaves_another_s_memory_alone(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", 1, 2), sticky("two", "10.96.0.11"))
    stage.put(endpoints("two", 1, 2))
    number = stage.elements("remembered")["10.96.0.10 . tcp . 80"][-16:]
    sent = stage.remove(service("two"), endpoints("two"))
    assert number not in str(sent)
    assert not {
        key for key in stage.elements("members-tcp") if not key.startswith(_numbers(number))
    }


def _numbers(text: str) -> str:
    return f"{int(text[:8], 16)} . {int(text[8:], 16)} . "


# What is to be forgotten


def client(stage: Stage, frontend: str = "10.96.0.10 . tcp . 80") -> str:
    """How the maps of remembered clients spell a client of a frontend."""
    return f"8134 . 21 . {_numbers(stage.elements('remembered')[frontend][-16:])}".removesuffix(
        " . "
    )


ONE = "10.244.0.1 . 8080"


def may_return(
    stage: Stage,
    who: str,
    endpoint: str,
    family: Family = Family.IPV4,
    protocol: Protocol = Protocol.TCP,
) -> bool:
    """As node/affinity.py asks it."""
    *_, high, low = who.split(" . ")
    return f"{high} . {low} . {endpoint}" in stage.services.members(family, protocol)


def test_a_client_may_return_to_what_is_an_endpoint_still(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", 1, 2))
    who = client(stage)
    assert may_return(stage, who, "10.244.0.1 . 8080")
    assert not may_return(stage, who, "10.244.0.3 . 8080"), "which never was one"
    assert not may_return(stage, who, ONE, protocol=Protocol.UDP)
    assert not may_return(stage, who, ONE, Family.IPV6)
    assert not may_return(stage, who, "10.244.0.1 . 8081")
    assert not may_return(stage, "8134 . 21 . 1 . 2", ONE), "a Service that is none"
    stage.put(endpoints("web", 2))
    assert not may_return(stage, who, "10.244.0.1 . 8080")
    assert may_return(stage, who, "10.244.0.2 . 8080")


def test_an_endpoint_that_two_services_have_is_forgotten_by_the_one_that_loses_it(
    stage: Stage,
) -> None:
    stage.put(sticky("web"), endpoints("web", 1), sticky("two", "10.96.0.11"), endpoints("two", 1))
    web, two = client(stage), client(stage, "10.96.0.11 . tcp . 80")
    stage.put(endpoints("web", 2))
    assert not may_return(stage, web, "10.244.0.1 . 8080")
    assert may_return(stage, two, "10.244.0.1 . 8080")


@pytest.mark.parametrize(
    ("promise", "conditions", "stays"),
    [
        ("not ready", {"ready": False}, False),
        ("ending, while another is ready", {"ready": False, "terminating": True}, False),
        ("ready", {"ready": True}, True),
    ],
)
def test_who_is_left_out_is_forgotten(
    stage: Stage,
    promise: str,
    conditions: dict[str, bool],
    stays: bool,
) -> None:
    stage.put(sticky("web"), endpoints("web", 1), endpoints("web", 2, name="b"))
    who = client(stage)
    stage.put(endpoints("web", 1, conditions=conditions))
    assert may_return(stage, who, "10.244.0.1 . 8080") is stays, promise


def test_a_start_looks_at_every_map_of_clients(stage: Stage) -> None:
    assert stage.services.forgetful == {(family, each) for family in FAMILIES for each in Protocol}


@pytest.mark.parametrize("protocol", Protocol)
def test_only_the_map_of_the_protocol_that_lost_an_endpoint_is_looked_at(
    stage: Stage, protocol: Protocol
) -> None:
    port = {"name": "", "port": 8080, "protocol": protocol}
    stage.put(sticky("web", protocol=protocol), endpoints("web", 1, 2, port=port))
    stage.services.forgetful.clear()
    stage.put(endpoints("web", 1, 2, 3, port=port))
    assert stage.services.forgetful == set()
    stage.put(endpoints("web", 1, 2, port=port))
    assert stage.services.forgetful == {(Family.IPV4, protocol)}


def test_a_service_that_remembers_no_one_gives_nothing_to_forget(stage: Stage) -> None:
    stage.put(service("web"), endpoints("web", 1, 2))
    stage.services.forgetful.clear()
    stage.put(endpoints("web", 1))
    stage.remove(service("web"))
    assert stage.services.forgetful == set()


# Restarts


@pytest.mark.parametrize("spec", [{}, {"nodePort": 30000, **BOTH_LOCAL}])
def test_a_restart_sends_nothing_and_keeps_everyone_s_memory(
    stage: Stage, spec: dict[str, Any]
) -> None:
    stage.put(sticky("web", timeout=60, **spec), endpoints("web", 1, 2, 3, here=[1]))
    stage.put(endpoints("web", 1, 3, 4, here=[1, 4]))
    again = stage.again()
    assert not again.start(*stage.objects)
    assert again.services.forgetful == {(family, each) for family in FAMILIES for each in Protocol}
    assert may_return(again, client(stage), "10.244.0.4 . 8080")


def test_a_service_that_comes_again_remembers_under_the_same_name(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", 1))
    before = stage.in_force
    stage.remove(sticky("web"))
    assert own(stage) == set()
    stage.put(sticky("web", timeout=None))
    assert stage.in_force == before

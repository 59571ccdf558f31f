"""What an audit finds, when it repairs it, and that it touches nothing that is alive."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from audit_node import PORTS, UPLINK, AuditNode, addresses, attachment, link
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire_cni.attachment import is_host_name
from podwire_cni.family import IPAddress
from podwire_node.cni.audit.audit import Audit
from podwire_node.cni.audit.comparison import find
from podwire_node.cni.audit.findings import Kind
from podwire_node.cni.audit.remembered import read_remembered
from podwire_node.cni.audit.steps import Delete, LeaseAgain, RemoveLink
from podwire_node.cni.calls.turns import Late, Turns

V4, V6 = addresses(1)


def wired() -> AuditNode:
    """Two pods; a runtime of whose memory the second one tells that it is the node's."""
    node = AuditNode()
    node.add(1)
    node.add(2)
    node.remember(2)
    return node


def kinds(node: AuditNode) -> list[str]:
    return [f"{each.kind.word} {each.subject}" for each in find(node.look())]


class Clocked:
    """An audit of a node with a clock of its own."""

    def __init__(self, node: AuditNode) -> None:
        self.now = 1000.0
        self.turns: list[str] = []
        self.busy: set[str] = set()
        self.repaired: list[Kind] = []
        self.audit = Audit(node, self._turn, repaired=self.repaired.append)

    @contextmanager
    def _turn(self, container: str, _deadline: float) -> Iterator[None]:
        if container in self.busy:
            raise Late
        self.turns.append(container)
        yield

    def after(self, seconds: float) -> float:
        """Audit; seconds until the next one is wanted."""
        self.now += seconds
        # A repair's own time is by the real clock, so the audit's must not be long past.
        return self.audit.run(time.monotonic() + self.now) - time.monotonic() - self.now


# ------------------------------------------------------------------------------- table


def gone_link(node: AuditNode) -> None:
    node.drop(101)


def gone_lease(node: AuditNode) -> None:
    del node.leases[attachment(1)]


def known_pod_without_link(node: AuditNode) -> None:
    node.remember(1)
    node.drop(101)


def renamed_link(node: AuditNode) -> None:
    node.links[101] = replace(node.links[101], name="mine")


def known_pod_without_lease(node: AuditNode) -> None:
    node.remember(1)
    gone_lease(node)


def dead_pod_without_lease(node: AuditNode) -> None:
    node.remember(1, alive=False)
    gone_lease(node)


def unreadable_cache(node: AuditNode) -> None:
    node.remembered = None
    gone_lease(node)


def other_runtimes_cache(node: AuditNode) -> None:
    """A folder that was made for a mount, or holds another runtime's pods."""
    node.remembered = {}
    node.remember(9)
    gone_lease(node)


def other_ranges(node: AuditNode) -> None:
    gone_lease(node)
    node.put_route(_address("192.0.2.9"), 101)


def link_down(node: AuditNode) -> None:
    node.links[101] = replace(node.links[101], up=False)


def source_unchecked(node: AuditNode) -> None:
    node.links[101] = replace(node.links[101], checks_source=False)


def source_unchecked_of_ipv6_alone(node: AuditNode) -> None:
    source_unchecked(node)
    node.leases[attachment(1)] = replace(node.leases[attachment(1)], addresses=(V6,))
    node.routes = {each for each in node.routes if each.address != V4}
    del node.neighbours[101, V4]


def no_route(node: AuditNode) -> None:
    node.routes = {each for each in node.routes if each.address != V4}


def other_pods_route(node: AuditNode) -> None:
    node.put_route(V4, 102)


def other_pods_better_route(node: AuditNode) -> None:
    node.put_route(V6, 102, before=24)


def foreign_route(node: AuditNode) -> None:
    node.put_route(V6, UPLINK, before=24)


def foreign_route_behind_ours(node: AuditNode) -> None:
    node.put_route(V6, UPLINK, before=-24)


def no_neighbour(node: AuditNode) -> None:
    del node.neighbours[101, V4]


def wrong_neighbour(node: AuditNode) -> None:
    node.neighbours[101, V4] = "02:00:00:00:00:09"


def changed_mac(node: AuditNode) -> None:
    """A later plugin gave the pod's end another address, and told the node."""
    node.links[101] = replace(node.links[101], peer="02:00:00:00:00:09")
    for address in addresses(1):
        node.neighbours[101, address] = "02:00:00:00:00:09"


def stray_route(node: AuditNode) -> None:
    node.put_route(_address("10.244.1.77"), 101)


def virtual_address(node: AuditNode) -> None:
    node.put_route(_address("192.0.2.77"), 101)


def stray_neighbour(node: AuditNode) -> None:
    node.neighbours[101, _address("10.244.1.77")] = "02:00:00:00:00:09"


def ports_not_in_force(node: AuditNode) -> None:
    node.add(1, PORTS)
    node.mapped = set()


def nobodys_ports(node: AuditNode) -> None:
    node.mapped = {attachment(7)}


def nobody_keeps_ports(node: AuditNode) -> None:
    node.add(1, PORTS)
    node.mapped = None


def _address(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


NAME = attachment(1).host_name
TABLE: list[tuple[Callable[[AuditNode], None], list[str]]] = [
    (lambda _node: None, []),
    (gone_link, [f"lease-without-link {NAME}"]),
    (known_pod_without_link, [f"lease-of-live-pod {NAME}"]),
    (renamed_link, [f"link-renamed {NAME}"]),
    (gone_lease, [f"link-without-lease {NAME}"]),
    (known_pod_without_lease, [f"link-of-live-pod {NAME}"]),
    (dead_pod_without_lease, [f"link-without-lease {NAME}"]),
    (unreadable_cache, [f"link-unjudged {NAME}"]),
    (other_runtimes_cache, [f"link-unjudged {NAME}"]),
    (other_ranges, [f"link-unjudged {NAME}"]),
    (link_down, [f"link-down {NAME}"]),
    (source_unchecked, [f"source-unchecked {NAME}"]),
    (source_unchecked_of_ipv6_alone, []),
    (no_route, [f"route-missing {V4}"]),
    (other_pods_route, [f"route-elsewhere {V4}", f"route-stray {V4}"]),
    (other_pods_better_route, [f"route-elsewhere {V6}", f"route-stray {V6}"]),
    (foreign_route, [f"route-foreign {V6}"]),
    (foreign_route_behind_ours, []),
    (no_neighbour, [f"neighbour-wrong {V4}"]),
    (wrong_neighbour, [f"neighbour-wrong {V4}"]),
    (changed_mac, []),
    (stray_route, ["route-stray 10.244.1.77"]),
    (virtual_address, []),
    (stray_neighbour, ["neighbour-stray 10.244.1.77"]),
    (ports_not_in_force, [f"ports-missing {NAME}"]),
    (nobodys_ports, [f"ports-without-lease {attachment(7).host_name}"]),
    (nobody_keeps_ports, []),
]
SPOILT = [spoil for spoil, found in TABLE if found]


@pytest.mark.parametrize(("spoil", "found"), TABLE, ids=lambda each: getattr(each, "__name__", ""))
def test_each_difference_has_its_name(spoil: Callable[[AuditNode], None], found: list[str]) -> None:
    node = wired()
    spoil(node)
    assert kinds(node) == found


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_was_seen_twice_long_enough_apart_is_repaired_or_stays(
    spoil: Callable[[AuditNode], None],
) -> None:
    node = wired()
    spoil(node)
    audit = Clocked(node)
    audit.after(0)
    assert not node.steps, "at first sight"
    audit.after(4.9)
    assert not node.steps, "too soon"
    audit.after(55.1)
    audit.after(0.1)
    left = find(node.look())
    assert not [str(each) for each in left if each.kind.patience is not None]
    assert bool(node.steps) != bool(left), "either it is repaired, or nothing is done to it"
    assert node.is_well(2)


def test_every_kind_is_in_the_table() -> None:
    named = {row.split()[0] for _, found in TABLE for row in found}
    assert named == {kind.word for kind in Kind}


# ------------------------------------------------------------------------------ patience


@pytest.mark.parametrize("spoil", [gone_link, gone_lease, stray_route, nobodys_ports])
def test_nothing_is_freed_within_a_minute(spoil: Callable[[AuditNode], None]) -> None:
    node = wired()
    spoil(node)
    audit = Clocked(node)
    for _ in range(11):
        audit.after(5.4)
    assert not node.steps


def test_a_difference_that_went_and_came_back_is_a_new_one() -> None:
    node = wired()
    audit = Clocked(node)
    gone_link(node)
    audit.after(0)
    node.add(1)
    audit.after(50)
    gone_link(node)
    audit.after(50)
    assert not node.steps


def test_a_lease_that_was_made_anew_is_a_new_one() -> None:
    node = wired()
    audit = Clocked(node)
    gone_link(node)
    audit.after(0)
    old = node.leases[attachment(1)]
    node.leases[attachment(1)] = replace(old, allocated=old.allocated - 86400)  # the clock stepped
    audit.after(61)
    assert not node.steps


def test_the_next_audit_is_sooner_when_something_can_be_put_back() -> None:
    node = wired()
    audit = Clocked(node)
    assert audit.after(0) == pytest.approx(60, abs=0.1)
    no_route(node)
    assert audit.after(60) == pytest.approx(5, abs=0.1)


# --------------------------------------------------------------------------------- turns


def test_a_repair_takes_the_containers_turn() -> None:
    node = wired()
    gone_link(node)
    audit = Clocked(node)
    audit.after(0)
    audit.after(60)
    assert audit.turns == ["c-1"]
    assert node.steps == [Delete(attachment(1))]
    assert audit.repaired == [Kind.LEASE_WITHOUT_LINK]


def test_a_busy_container_is_left_alone() -> None:
    node = wired()
    gone_link(node)
    audit = Clocked(node)
    audit.busy = {"c-1"}
    audit.after(0)
    audit.after(60)
    assert not node.steps
    audit.busy.clear()
    audit.after(1)
    assert node.steps


def test_what_was_put_right_before_the_turn_came_is_not_repaired() -> None:
    node = wired()
    gone_link(node)

    @contextmanager
    def late_add(_container: str, _deadline: float) -> Iterator[None]:
        node.add(1)  # an ADD had the turn before us
        yield

    audit = Audit(node, late_add)
    now = time.monotonic()
    audit.run(now)
    audit.run(now + 60)
    assert not node.steps
    assert node.is_well(1)


def test_a_link_of_nobody_is_removed_by_its_index() -> None:
    node = wired()
    gone_lease(node)
    audit = Clocked(node)
    audit.after(0)
    audit.after(60)
    assert node.steps == [RemoveLink(link(1), addresses(1))]


def test_a_link_of_nobody_stays_for_as_long_as_its_pod_sends() -> None:
    node = wired()
    gone_lease(node)
    audit = Clocked(node)
    for heard in range(5):
        node.links[101] = replace(node.links[101], heard=heard)
        audit.after(60)
    assert not node.steps
    audit.after(60)
    assert node.steps


def test_a_pod_that_lives_gets_its_lease_back() -> None:
    node = wired()
    known_pod_without_lease(node)
    audit = Clocked(node)
    audit.after(0)
    audit.after(5)
    assert isinstance(node.steps[0], LeaseAgain)
    assert node.is_well(1)


def test_the_turns_of_the_server_will_do() -> None:
    node = wired()
    gone_link(node)
    audit = Audit(node, Turns(1).taken)
    now = time.monotonic()
    audit.run(now)
    audit.run(now + 60)
    assert not find(node.look())


# ----------------------------------------------------------------------------------- log


def test_what_cannot_be_repaired_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    node = wired()
    unreadable_cache(node)
    audit = Clocked(node)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            audit.after(60)
    (told,) = [each.message for each in caplog.records]
    assert told == (
        f"audit: link-unjudged: the link {NAME} (default/pod-1, 10.244.1.1/32, "
        "fd00:10:244:1::1/128) has no lease and stays: libcni's cache, which tells whether its "
        "pod lives, cannot be read"
    )


def test_a_refused_repair_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    node = wired()
    no_route(node)
    node.refuse = "cannot be repaired: Operation not permitted"
    audit = Clocked(node)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            audit.after(60)
        node.refuse = ""
        audit.after(60)
        audit.after(60)
    refused, repaired = [each.message for each in caplog.records]
    what = f"route-missing: no route leads to {V4} of default/pod-1 (c-1/eth0)"
    assert refused == f"audit: {what}; cannot be repaired: Operation not permitted"
    assert repaired == f"audit: repaired {what}"


def test_a_hundred_differences_are_not_a_hundred_lines(caplog: pytest.LogCaptureFixture) -> None:
    node = AuditNode()
    node.remembered = None
    for number in range(1, 101):
        node.links[100 + number] = link(number)
    with caplog.at_level(logging.WARNING):
        Clocked(node).after(0)
    assert len(caplog.records) == 21
    assert caplog.records[-1].message.endswith("and 80 more; podwire leases --check lists them")


def test_a_refused_repair_waits_as_long_as_the_first_time() -> None:
    node = wired()
    no_route(node)
    node.refuse = "no"
    audit = Clocked(node)
    audit.after(0)
    assert audit.after(5) == pytest.approx(60, abs=0.1)


# --------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["pwd", "pwdzdwyupsv5bz", "pwdzdwyupsv5bz1", "PWdzdwyupsv5bzf"])
def test_other_links_are_not_ours(name: str) -> None:
    assert not is_host_name(name)
    assert is_host_name(attachment(1).host_name)


# --------------------------------------------------------------------- libcni's memory


def remember(folder: Path, netns: str, **more: object) -> None:
    entry = {
        "kind": "cniCacheV1",
        "networkName": "podnet",
        "containerId": "c-1",
        "ifName": "eth0",
        "config": "e30=",
        "netns": netns,
        "cniArgs": [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "pod-1"]],
        "capabilityArgs": {
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
        },
        "result": {"ips": [{"address": "10.244.1.1/32", "interface": 1}]},
    }
    (folder / "podnet-c-1-eth0").write_bytes(msgspec.json.encode(entry | more))


def test_a_runtimes_memory_names_pod_addresses_and_ports(tmp_path: Path) -> None:
    remember(tmp_path, str(tmp_path))
    known = read_remembered(tmp_path)
    assert known is not None
    (entry,) = known.values()
    assert known.keys() == {attachment(1).host_name}
    assert (entry.pod, entry.addresses, entry.ports) == ("default/pod-1", (V4,), PORTS)


@pytest.mark.parametrize(
    ("netns", "alive"),
    [("", True), ("/no/such/folder/ns", True), ("FOLDER/ns", False), ("FOLDER", True)],
    ids=["unknown", "a folder that we do not see", "gone", "there"],
)
def test_a_pod_is_dead_only_where_its_namespace_is_surely_gone(
    tmp_path: Path, netns: str, *, alive: bool
) -> None:
    remember(tmp_path, netns.replace("FOLDER", str(tmp_path)))
    known = read_remembered(tmp_path)
    assert known is not None
    assert [entry.alive for entry in known.values()] == [alive]


@pytest.mark.parametrize(
    "more",
    [{"kind": "other"}, {"ifName": ""}, {"result": {"ips": [{"address": "x"}]}}, {"cniArgs": 7}],
)
def test_what_no_runtime_wrote_is_left_out(tmp_path: Path, more: dict[str, object]) -> None:
    remember(tmp_path, "", **more)
    (tmp_path / "rubbish").write_bytes(b"\xff{")
    (tmp_path / "folder").mkdir()
    assert read_remembered(tmp_path) == {}


def test_a_missing_cache_is_not_an_empty_one(tmp_path: Path) -> None:
    assert read_remembered(tmp_path / "none") is None


# ------------------------------------------------------------------------ any mix at all


def _lower(node: AuditNode, number: int) -> None:
    if 100 + number in node.links:
        node.links[100 + number] = replace(node.links[100 + number], up=False)
        node.cut(100 + number)


def _on(node: AuditNode, number: int, address: IPAddress, before: int = 0) -> None:
    if 100 + number in node.links:
        node.put_route(address, 100 + number, before)
        node.neighbours[100 + number, address] = attachment(number).pod_mac


FAULTS: dict[str, Callable[[AuditNode, int], object]] = {
    "no link": lambda node, n: node.drop(100 + n),
    "no lease": lambda node, n: node.leases.pop(attachment(n), None),
    "down": _lower,
    "no routes": lambda node, n: node.cut(100 + n),
    "stray": lambda node, n: _on(node, n, _address(f"10.244.1.{70 + n}")),
    "another's": lambda node, n: _on(node, n, addresses(n % 5 + 1)[0]),
    "another's, better": lambda node, n: _on(node, n, addresses(n % 5 + 1)[1], before=9),
    "ports": lambda node, n: node.mapped.add(attachment(n)) if node.mapped is not None else None,
}


@settings(max_examples=300, deadline=None, print_blob=True)
@given(
    pods=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(sorted(FAULTS)), max_size=4)),
        min_size=5,
        max_size=5,
    )
)
def test_any_mix_comes_to_rest_and_nothing_that_lives_is_harmed(
    pods: list[tuple[bool, list[str]]],
) -> None:
    node = AuditNode()
    for number in range(1, 6):
        node.add(number)
    for number, (known, _) in enumerate(pods, 1):
        if known:
            node.remember(number)
    for number, (_, faults) in enumerate(pods, 1):
        for fault in faults:
            FAULTS[fault](node, number)
    living = [
        number
        for number, (known, _) in enumerate(pods, 1)
        if 100 + number in node.links and (known or attachment(number) in node.leases)
    ]
    audit = Clocked(node)
    for _ in range(5):
        audit.after(60.1)
    assert not [str(each) for each in find(node.look()) if each.kind.patience is not None]
    assert all(node.is_well(number) for number in living)

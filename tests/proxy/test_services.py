"""What a change costs, who wins, and what survives a restart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_flows import NODE, world

from podwire_core import objects
from podwire_core.feed.decode import decode
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import EndpointSlice, KubernetesObject, ObjectName, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.frontend import Frontend, Via
from podwire_proxy.services import TABLES, Services


class Node:
    """A proxy on the fake: objects in, transactions out."""

    def __init__(self, nft: Fake | None = None) -> None:
        self.nft = nft or Fake()
        self.owner = Owner(self.nft, TABLES)
        self.owner.adopt()
        self.snapshot = Snapshot()
        self.services = Services(NODE, dict(self.owner.in_force))

    def put(self, *objects: KubernetesObject) -> Transaction:
        return self._take([Change(type(each), each.name, each) for each in objects])

    def remove(self, *objects: KubernetesObject) -> Transaction:
        return self._take([Change(type(each), each.name, None) for each in objects])

    def start(self, *objects: KubernetesObject) -> Transaction:
        """The first sync after a start: everything is compared."""
        changes = [Change(type(each), each.name, each) for each in objects]
        self.services.update(self.snapshot, [c for c in changes if self.snapshot.apply(c)])
        return self.owner.sync(self.services.wanted)

    def _take(self, changes: list[Change]) -> Transaction:
        new = [change for change in changes if self.snapshot.apply(change)]
        return self.owner.change(self.services.update(self.snapshot, new))


def service(
    name: str, address: str = "10.96.0.10", created: str = "2026-01-01T00:00:00Z", **port: Any
) -> Service:
    document = {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"clusterIP": address, "ports": [{"port": 80, **port}]},
    }
    made = decode(document, Service, "test")
    assert isinstance(made, Service)
    return made


def endpoints(owner: str, *numbers: int, name: str = "", ready: bool = True) -> EndpointSlice:
    document = {
        "metadata": {"name": name or f"{owner}-1", "labels": {"kubernetes.io/service-name": owner}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "name": ""}],
        "endpoints": [
            {"addresses": [f"10.244.{n // 250}.{n % 250}"], "conditions": {"ready": ready}}
            for n in numbers
        ],
    }
    made = decode(document, EndpointSlice, "test")
    assert isinstance(made, EndpointSlice)
    return made


@pytest.fixture
def node() -> Node:
    made = Node()
    made.put(service("web"), endpoints("web", *range(10, 20)))
    made.put(service("other", "10.96.0.11"), endpoints("other", 10, 11))
    return made


def test_the_same_again_sends_nothing(node: Node) -> None:
    assert not node.put(service("web"), endpoints("web", *range(10, 20)))


def test_an_endpoint_that_comes_changes_its_own_elements_and_one_chain(node: Node) -> None:
    sent = node.put(endpoints("web", *range(10, 21)))
    assert sent.counts() == {
        ("add", "chain"): 1,  # choose-11, the first of that size
        ("add", "rule"): 1,
        ("delete", "element"): 1,  # the frontend's verdict …
        ("add", "element"): 3,  # … is replaced; a slot; its hairpin
        ("flush", "chain"): 1,  # choose-10 has no user any more
        ("delete", "chain"): 1,
    }


def test_an_endpoint_that_goes_moves_one_other(node: Node) -> None:
    node.put(service("third", "10.96.0.12"), endpoints("third", *range(30, 39)))  # has choose-9
    sent = node.put(endpoints("web", *range(11, 20)))
    assert ("add", "chain") not in sent.counts()
    assert sent.counts()["delete", "element"] == 3  # the verdict, the moved slot, the last slot
    assert sent.counts()["add", "element"] == 2


def test_a_rolling_update_of_one_pod_touches_its_slot_alone(node: Node) -> None:
    sent = node.put(endpoints("web", *range(10, 15), *range(16, 20), 99))
    assert sent.counts() == {("delete", "element"): 2, ("add", "element"): 2}  # slot and hairpin


def test_an_endpoint_that_two_services_share_keeps_its_hairpin(node: Node) -> None:
    sent = node.put(endpoints("web", *range(11, 20)))
    assert not [line for line in str(sent).splitlines() if "hairpin" in line]


def test_a_service_that_goes_takes_everything_of_its_own(node: Node) -> None:
    before = set(node.owner.in_force)
    node.put(service("third", "10.96.0.12", nodePort=30000), endpoints("third", 77, 78, 79))
    node.remove(service("third", "10.96.0.12"))
    node.remove(endpoints("third"))
    assert set(node.owner.in_force) == before


def test_endpoints_may_come_before_their_service() -> None:
    early, late = Node(), Node()
    early.put(endpoints("web", 10, 11))
    early.put(service("web"))
    late.put(service("web"))
    late.put(endpoints("web", 10, 11))
    assert early.owner.in_force == late.owner.in_force


def test_an_endpoint_in_two_slices_counts_once(node: Node) -> None:
    assert not node.put(endpoints("web", 10, 11, name="web-2"))


def test_a_slice_may_move_to_another_service(node: Node) -> None:
    node.put(endpoints("other", *range(10, 20), name="web-1"))
    web = next(frontend for frontend in node.services._served if frontend.address == "10.96.0.10")
    assert node.services.backends(web) == ()


def test_a_restart_sends_nothing(node: Node) -> None:
    node.put(endpoints("web", 15, 12, 99))  # slots that no fresh start would choose
    again = Node(node.nft)
    assert not again.start(*_all(node))
    assert not again.put(*_all(node))


def test_a_restart_takes_away_what_is_gone_meanwhile(node: Node) -> None:
    again = Node(node.nft)
    again.start(service("web"), endpoints("web", *range(10, 20)))
    assert not [key for key in again.owner.in_force if "10.96.0.11" in key[-1]]
    fresh = Node()
    fresh.put(service("web"), endpoints("web", *range(10, 20)))
    assert again.owner.in_force == fresh.owner.in_force


def _all(node: Node) -> list[KubernetesObject]:
    return [*node.snapshot.all(Service), *node.snapshot.all(EndpointSlice)]


def test_the_older_of_two_services_with_one_address_wins_and_it_is_told(node: Node) -> None:
    node.put(service("thief", created="2026-06-01T00:00:00Z"), endpoints("thief", 66))
    (problem,) = node.services.problems
    assert problem.object == "Service default/thief"
    assert "default/web" in problem.reason
    web = Frontend(
        next(iter(node.services._served)).family, Via.CLUSTER_IP, "10.96.0.10", *_tcp80()
    )
    assert len(node.services.backends(web)) == 10
    node.remove(service("web"))
    assert len(node.services.backends(web)) == 1
    assert node.services.problems == []


def _tcp80() -> tuple[Any, int]:
    return service("x").spec.ports[0].protocol, 80  # type: ignore[index]


def test_an_address_of_the_wrong_family_is_left_out_and_named(node: Node) -> None:
    document = {
        "metadata": {"name": "bad", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "name": ""}],
        "endpoints": [{"addresses": ["10.244.9.9"]}, {"addresses": ["fd00::1"]}],
    }
    node.put(decode(document, EndpointSlice, "test"))
    (problem,) = node.services.problems
    assert (problem.object, problem.field) == (
        "EndpointSlice default/bad",
        "endpoints[1].addresses[0]",
    )
    assert any("10.244.9.9" in key[-1] for key in node.owner.in_force)


@pytest.mark.parametrize(
    ("promise", "spec"),
    [
        ("headless", {"clusterIP": "None", "ports": [{"port": 80}]}),
        (
            "ExternalName",
            {"type": "ExternalName", "clusterIP": "10.96.0.9", "ports": [{"port": 80}]},
        ),
        ("no address yet", {"ports": [{"port": 80}]}),
        ("no ports", {"clusterIP": "10.96.0.9"}),
    ],
)
def test_services_that_have_nothing_to_dial_are_left_out(
    promise: str, spec: dict[str, Any]
) -> None:
    node = Node()
    empty = set(node.put() and node.owner.in_force)
    node.put(decode({"metadata": {"name": "x"}, "spec": spec}, Service, "test"), endpoints("x", 1))
    assert set(node.owner.in_force) - empty == set(), promise


def test_endpoints_of_the_other_family_never_serve() -> None:
    node = Node()
    node.put(service("web", "fd00:10:96::1"), endpoints("web", 10))
    assert any(key[2:4] == ("element", "unavailable") for key in node.owner.in_force)


def test_the_names_of_services_reach_the_kernel() -> None:
    node = Node()
    sent = node.put(*world())
    assert 'comment "shop/web:http" : goto choose-2-tcp' in str(sent)


events = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.sampled_from("abc"), st.integers(10, 12)),
        st.tuples(st.just("gone"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("slice"), st.sampled_from("abc"), st.integers(0, 31)),
        st.tuples(st.just("no slice"), st.sampled_from("abc"), st.just(0)),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(events)
def test_any_history_ends_where_a_fresh_start_does(steps: list[tuple[str, str, int]]) -> None:
    node = Node()
    node.start()
    for what, name, value in steps:
        match what:
            case "service":
                node.put(service(name, f"10.96.0.{value}"))
            case "gone":
                node.remove(service(name))
            case "slice":
                node.put(endpoints(name, *(bit for bit in range(5) if value >> bit & 1)))
            case _:
                node.remove(endpoints(name))
    fresh = Node()
    fresh.start(*_all(node))
    assert _without_slots(node) == _without_slots(fresh)
    assert _slots(node) == _slots(fresh)
    assert not Node(node.nft).start(*_all(node))


def _without_slots(node: Node) -> dict[Any, str]:
    return {k: v for k, v in node.owner.in_force.items() if k[2:4] != ("element", "endpoints-tcp")}


def _slots(node: Node) -> dict[Frontend, set[Any]]:
    return {frontend: set(node.services.backends(frontend)) for frontend in node.services._served}


def test_removing_what_was_never_there_is_silent() -> None:
    node = Node()
    node.start()
    assert not node.remove(service("ghost"), endpoints("ghost"))
    assert node.services.problems == []
    assert node.snapshot.get(Service, ObjectName("default", "ghost")) is None


def test_pod_cidrs_are_spelled_as_nft_lists_them() -> None:
    node = Node()
    document = {"metadata": {"name": "other"}, "spec": {"podCIDRs": ["::102:300/120"]}}
    node.put(decode(document, objects.Node, "test"))
    assert ("ip6", "podwire-proxy", "element", "pod-cidrs", "::1.2.3.0/120") in node.owner.in_force

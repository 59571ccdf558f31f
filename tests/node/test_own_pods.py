"""What the snapshot has of this node's pods: the feed's words and the leases' addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from podwire_core.objects import ObjectName, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_node.own_pods import OwnPods

NAME = ObjectName("default", "web")
OURS = ("10.244.1.2", "fd00::2")


def pod(node: str = "node1", phase: str = "Pending", *ips: str, **spec: Any) -> Pod:
    status = {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]}
    document = {"metadata": {"name": "web"}, "spec": {"nodeName": node} | spec, "status": status}
    return msgspec.convert(document, Pod)


class Site:
    """A snapshot that is told of both."""

    def __init__(self) -> None:
        self.snapshot, self.own = Snapshot(), OwnPods("node1")

    def feed(self, new: Pod | None) -> Site:
        self.snapshot.apply(self.own.told(Change(Pod, NAME, new)))
        return self

    def came(self, lease: str, *addresses: str) -> Site:
        return self._apply(self.own.came(self.snapshot, NAME, lease, addresses))

    def went(self, lease: str) -> Site:
        return self._apply(self.own.went(NAME, lease))

    def _apply(self, change: Change | None) -> Site:
        if change is not None:
            self.snapshot.apply(change)
        return self

    @property
    def ips(self) -> tuple[str, ...]:
        found = self.snapshot.get(Pod, NAME)
        return found.ips if found else ()


@pytest.fixture
def site() -> Site:
    return Site()


ORDERS: dict[str, Callable[[Site], Site]] = {
    "the lease first": lambda site: site.came("a", *OURS).feed(pod()),
    "the pod first": lambda site: site.feed(pod()).came("a", *OURS),
    "the pod comes again": lambda site: site.came("a", *OURS).feed(pod()).feed(None).feed(pod()),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_a_pod_has_its_leases_addresses_in_whatever_order_both_come(
    site: Site, order: Callable[[Site], Site]
) -> None:
    assert order(site).ips == OURS
    assert site.went("a").ips == ()
    assert site.snapshot.get(Pod, NAME) == pod()


NOT_OURS = {
    "of another node": pod("node2"),
    "in the host's network": pod(hostNetwork=True),
    "finished": pod("node1", "Succeeded", "10.244.1.2"),
}


@pytest.mark.parametrize("new", NOT_OURS.values(), ids=NOT_OURS.keys())
def test_a_pod_that_can_have_no_lease_is_as_the_feed_says(site: Site, new: Pod) -> None:
    site.came("a", *OURS).feed(new)
    assert site.snapshot.get(Pod, NAME) == new


def test_what_the_feed_says_of_leased_addresses_stays_also_without_the_lease(site: Site) -> None:
    said = pod("node1", "Running", "10.244.1.2")
    assert site.came("a", *OURS).feed(said).ips == ("10.244.1.2",)
    assert site.went("a").ips == ("10.244.1.2",)


def test_a_sandbox_that_is_made_anew_counts_before_the_feed_knows(site: Site) -> None:
    site.came("a", "10.244.1.2").feed(pod("node1", "Running", "10.244.1.2"))
    assert site.came("b", "10.244.1.3").ips == ("10.244.1.2",), "both run"
    assert site.went("a").ips == ("10.244.1.3",)
    assert site.feed(pod("node1", "Running", "10.244.1.3")).ips == ("10.244.1.3",)


def test_a_lease_that_goes_twice_or_never_came_changes_nothing(site: Site) -> None:
    assert site.feed(pod()).went("a").came("a", *OURS).went("b").ips == OURS
    assert site.went("a").went("a").ips == ()


def test_a_pod_that_is_attached_anew_at_once_forgets_its_first_lease(site: Site) -> None:
    site.feed(pod()).came("a", "10.244.1.2").went("a").came("b", "10.244.1.3")
    assert site.ips == ("10.244.1.3",)
    assert site.went("b").snapshot.get(Pod, NAME) == pod()

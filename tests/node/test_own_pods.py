"""What the snapshot has of this node's pods: the feed's words and the leases' addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire_core.objects import Attached, ObjectName, Pod
from podwire_core.snapshot import Change, Snapshot
from podwire_node.own_pods import OwnPods

NAME = ObjectName("default", "web")
OURS = ("10.244.1.2", "fd00::2")


def pod(
    node: str = "node1",
    phase: str = "Pending",
    *ips: str,
    name: str = "web",
    uid: str = "",
    **spec: Any,
) -> Pod:
    status = {"phase": phase, "podIPs": [{"ip": ip} for ip in ips]}
    document = {
        "metadata": {"name": name, "uid": uid},
        "spec": {"nodeName": node} | spec,
        "status": status,
    }
    return msgspec.convert(document, Pod)


class Site:
    """A snapshot that is told of both."""

    def __init__(self) -> None:
        self.snapshot, self.own = Snapshot(), OwnPods("node1")

    def feed(self, new: Pod | None) -> Site:
        self.snapshot.apply(self.own.told(Change(Pod, new.name if new else NAME, new)))
        return self

    def came(self, lease: str, *addresses: str, whose: str = "web", uid: str = "") -> Site:
        name = ObjectName("default", whose) if whose else None
        return self._apply(self.own.came(Attached.of(lease, name, addresses, uid)))

    def went(self, lease: str) -> Site:
        return self._apply(self.own.went(ObjectName("", lease)))

    def _apply(self, changes: Iterable[Change]) -> Site:
        for change in changes:
            self.snapshot.apply(change)
        return self

    @property
    def attached(self) -> list[str]:
        return [each.metadata.name for each in self.snapshot.all(Attached)]

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


def test_what_the_feed_says_of_addresses_counts_without_the_lease_alone(site: Site) -> None:
    said = pod("node1", "Running", "10.244.1.2")
    assert site.came("a", *OURS).feed(said).ips == OURS, "it has two, the feed knows one"
    assert site.went("a").ips == ("10.244.1.2",)


def test_a_sandbox_that_is_made_anew_counts_before_the_feed_knows(site: Site) -> None:
    site.came("a", "10.244.1.2").feed(pod("node1", "Running", "10.244.1.2"))
    assert site.came("b", "10.244.1.3").ips == ("10.244.1.2", "10.244.1.3"), "both run"
    assert site.went("a").ips == ("10.244.1.3",)
    assert site.feed(pod("node1", "Running", "10.244.1.3")).ips == ("10.244.1.3",)


def test_a_lease_that_says_no_uid_counts_where_none_says_the_pods(site: Site) -> None:
    """After an upgrade: the earlier pod of that name has a lease that an older podwire wrote."""
    site.came("old", "10.244.1.2").feed(pod(uid="u2"))
    assert site.ips == ("10.244.1.2",), "it may be this one's"
    assert site.came("new", "10.244.1.3", uid="u2").ips == ("10.244.1.3",)
    assert site.went("new").ips == ("10.244.1.2",)


def test_a_lease_that_goes_twice_or_never_came_changes_nothing(site: Site) -> None:
    assert site.feed(pod()).went("a").came("a", *OURS).went("b").ips == OURS
    assert site.went("a").went("a").ips == ()


def test_a_pod_that_is_attached_anew_at_once_forgets_its_first_lease(site: Site) -> None:
    site.feed(pod()).came("a", "10.244.1.2").went("a").came("b", "10.244.1.3")
    assert site.ips == ("10.244.1.3",)
    assert site.went("b").snapshot.get(Pod, NAME) == pod()


def test_every_lease_is_in_the_snapshot_also_of_a_pod_nobody_told_of(site: Site) -> None:
    site.came("a", *OURS, uid="u1").came("b", "10.244.1.9", whose="")
    assert site.attached == ["a", "b"]
    known = site.snapshot.get(Attached, ObjectName("", "a"))
    assert known == Attached.of("a", NAME, OURS, "u1")
    assert site.went("a").went("b").attached == []


def test_a_lease_that_is_told_again_without_a_uid_keeps_it(site: Site) -> None:
    site.came("a", *OURS, uid="u1").came("a", *OURS)
    assert site.feed(pod(uid="u2")).ips == ()
    assert site.feed(pod(uid="u1")).ips == OURS


@pytest.mark.parametrize("known_before", [True, False])
def test_a_pod_of_another_uid_has_no_address_of_the_leases(site: Site, known_before: bool) -> None:
    earlier = pod("node1", "Running", *OURS, uid="u1")
    if known_before:
        site.feed(earlier).came("a", *OURS, uid="u2")
    else:
        site.came("a", *OURS, uid="u2").feed(earlier)
    assert (site.ips, site.attached) == ((), ["a"])
    assert site.feed(pod(uid="u2")).ips == OURS


def test_the_leases_of_two_pods_of_one_name_are_each_its_own(site: Site) -> None:
    site.came("a", "10.244.1.2", uid="u1").came("b", "10.244.1.3", uid="u2")
    assert site.feed(pod(uid="u1")).ips == ("10.244.1.2",)
    assert site.feed(pod(uid="u2")).ips == ("10.244.1.3",)
    assert site.went("b").ips == ()


@pytest.mark.parametrize("whose", ["new", ""], ids=["of a pod", "of nobody's container"])
def test_an_address_is_its_leases_whoever_the_feed_says_had_it(site: Site, whose: str) -> None:
    earlier = pod("node1", "Running", *OURS)
    assert site.feed(earlier).ips == OURS
    assert site.came("a", OURS[0], whose=whose).ips == OURS[1:]
    assert site.feed(earlier).ips == OURS[1:]
    assert site.went("a").ips == OURS


def test_after_a_nodes_restart_nobody_keeps_an_address_that_another_was_given(site: Site) -> None:
    """The feed still says what was before: two pods have changed addresses."""
    site.feed(pod("node1", "Running", "10.244.1.2", name="web"))
    site.feed(pod("node1", "Running", "10.244.1.3", name="new"))
    site.came("a", "10.244.1.3", whose="web").came("b", "10.244.1.2", whose="new")
    new = site.snapshot.get(Pod, ObjectName("default", "new"))
    assert (site.ips, new and new.ips) == (("10.244.1.3",), ("10.244.1.2",))


def test_an_address_that_passed_on_is_not_lost_when_its_first_lease_goes(site: Site) -> None:
    site.feed(pod()).came("a", "10.244.1.2", whose="old").came("b", "10.244.1.2")
    assert site.went("a").ips == ("10.244.1.2",)
    site.feed(pod("node1", "Running", "10.244.1.2", name="old"))
    old = site.snapshot.get(Pod, ObjectName("default", "old"))
    assert old is not None
    assert old.ips == ()


def test_a_status_that_names_an_address_twice_is_as_good_as_any(site: Site) -> None:
    twice = pod("node1", "Running", "10.244.1.2", "10.244.1.2")
    site.feed(twice).feed(twice).came("a", "10.244.1.2")
    assert set(site.ips) == {"10.244.1.2"}
    site.feed(None).went("a")


def test_what_is_known_goes_with_the_pods_and_leases(site: Site) -> None:
    empty = vars(OwnPods("node1"))
    site.came("a", *OURS).feed(pod("node1", "Running", *OURS)).feed(pod("node2")).went("a")
    assert vars(site.own) == empty


def test_a_pod_is_known_when_the_feed_told_of_it_here_and_by_this_uid(site: Site) -> None:
    def known(uid: str) -> bool:
        return site.own.knows(Attached.of("a", NAME, OURS, uid))

    assert not known("u1")
    site.feed(pod(uid="u1"))
    assert (known("u1"), known(""), known("u2")) == (True, True, False)
    site.feed(pod("node2", uid="u1"))
    assert not known("u1")
    assert not site.own.knows(Attached.of("a", None, OURS))


# ------------------------------------------------------------------ whatever happened before

_ADDRESSES = st.lists(st.sampled_from(["10.244.1.2", "10.244.1.3", "fd00::2"]), unique=True)
_NAMES = st.sampled_from(["web", "new"])
_UIDS = st.sampled_from(["", "u1", "u2"])
_LEASES = st.sampled_from(["a", "b", "c"])
_STEPS = st.one_of(
    st.tuples(st.just("came"), _LEASES, st.one_of(st.none(), _NAMES), _UIDS, _ADDRESSES),
    st.tuples(st.just("went"), _LEASES),
    st.tuples(
        st.just("told"),
        _NAMES,
        st.one_of(st.none(), st.sampled_from(["node1", "node2"])),
        _UIDS,
        _ADDRESSES,
        st.sampled_from(["Pending", "Succeeded"]),
    ),
)


@given(st.lists(_STEPS, max_size=12))
@settings(max_examples=300, print_blob=True)
def test_what_the_snapshot_has_depends_on_what_is_and_not_on_what_was(steps: list[Any]) -> None:
    lived, fresh = Site(), Site()
    leases: dict[str, Attached] = {}
    pods: dict[str, Pod] = {}
    for verb, key, *rest in steps:
        if verb == "came":
            whose, uid, addresses = rest
            name = ObjectName("default", whose) if whose else None
            known = leases.pop(key, None)
            new = Attached.of(key, name, tuple(addresses), uid or (known.uid if known else ""))
            leases[key] = new
            lived.came(key, *addresses, whose=whose or "", uid=uid)
        elif verb == "went":
            leases.pop(key, None)
            lived.went(key)
        else:
            where, uid, addresses, phase = rest
            pods.pop(key, None)
            if where:
                pods[key] = pod(where, phase, *addresses, name=key, uid=uid)
            name = ObjectName("default", key)
            lived.snapshot.apply(lived.own.told(Change(Pod, name, pods.get(key))))
    for one in leases.values():
        whose = one.pod.name if one.pod else ""
        fresh.came(one.metadata.name, *one.addresses, whose=whose, uid=one.uid)
    for each in pods.values():
        fresh.feed(each)
    for kind in (Pod, Attached):
        assert lived.snapshot.all(kind) == fresh.snapshot.all(kind)
    ours = [each for each in lived.snapshot.all(Pod) if each.spec.node_name == "node1"]
    others = {ip for one in leases.values() if one.pod is None for ip in one.addresses}
    for each in ours:
        own = {ip for one in leases.values() if one.pod == each.name for ip in one.addresses}
        assert not (set(each.ips) & others) - own, "nobody's container has it"

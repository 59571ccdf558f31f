"""Who is let through at once, and who waits: the loop's half, without a loop."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.errors import TryAgain
from podwire_cni.leases import Lease
from podwire_core.feed.interface import Batch
from podwire_core.objects import (
    Attached,
    ClusterNetworkPolicy,
    KubernetesObject,
    NetworkPolicy,
    Pod,
)
from podwire_core.snapshot import Change, Snapshot
from podwire_node.cni.admission.attached_pods import AttachedPods
from podwire_node.intake import Intake
from podwire_node.own_pods import OwnPods
from podwire_node.parts import Part

LEASE = Lease(Attachment("podnet", "c1", "eth0"), "default/web", (ip_address("10.244.1.2"),))
DENY = {"metadata": {"name": "deny"}, "spec": {"podSelector": {}}}


class Told:
    """A feed that says what it is given."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def read(self) -> Batch:
        changes, self.changes = self.changes, []
        return Batch(tuple(changes))

    def fileno(self) -> int:
        return -1

    def close(self) -> None: ...


class Policy:
    """The policy part; its sync ends when `sync` is called, and it notes who may pass before."""

    name = "policy"
    settled = in_sync = True
    problems: Sequence[str] = ()
    unusable: Sequence[Any] = ()

    def watched(self) -> Sequence[tuple[int, Callable[[], object]]]:
        return ()

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        del snapshot
        self.in_sync = self.in_sync and not changes

    def sync(self, now: float) -> float | None:
        del now
        self.in_sync = True
        return None


class Site:
    """Attached pods of node1, and the loop's steps one by one."""

    def __init__(self) -> None:
        self.feed, self.policy, own = Told(), Policy(), OwnPods("node1")
        self.intake = Intake(self.feed, own)
        self.attached = AttachedPods(own, self.intake, [Part(self.policy, frozenset(), begun=True)])
        self.attached.settle()

    @property
    def is_open(self) -> bool:
        return self.attached.admission.is_open

    def read(self, *objects: KubernetesObject) -> Sequence[Change]:
        self.feed.changes = [Change(type(each), each.name, each) for each in objects]
        return self.intake.read()

    def hand_out(self, changes: Sequence[Change]) -> None:
        self.policy.take(self.intake.snapshot, changes)

    def sync(self) -> None:
        self.policy.sync(0.0)
        self.attached.settle()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.attached.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def policy() -> NetworkPolicy:
    return msgspec.convert(DENY, NetworkPolicy)


def cluster_policy() -> ClusterNetworkPolicy:
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}
    return msgspec.convert({"metadata": {"name": "all"}, "spec": spec}, ClusterNetworkPolicy)


def pod(uid: str = "", **metadata: object) -> Pod:
    document = {"metadata": {"name": "web", "uid": uid, **metadata}, "spec": {"nodeName": "node1"}}
    return msgspec.convert(document, Pod)


def test_a_policy_closes_the_door_before_any_part_has_heard_of_it(site: Site) -> None:
    assert site.is_open
    changes = site.read(policy())
    assert (site.is_open, site.policy.in_sync) == (False, True), "read, and nothing else yet"
    site.hand_out(changes)
    site.sync()
    assert not site.is_open


def test_the_door_opens_when_the_last_policys_end_is_in_the_kernel(site: Site) -> None:
    site.hand_out(site.read(policy()))
    site.sync()
    site.feed.changes = [Change(NetworkPolicy, policy().name, None)]
    changes = site.intake.read()
    assert not site.is_open, "the kernel still has it"
    site.hand_out(changes)
    assert not site.is_open
    site.sync()
    assert site.is_open


def test_a_cluster_policy_closes_the_door_too(site: Site) -> None:
    site.hand_out(site.read(cluster_policy()))
    site.sync()
    assert not site.is_open


def test_what_concerns_no_policy_leaves_the_door_open(site: Site) -> None:
    site.read(pod())
    assert site.is_open


def coming(site: Site, pool: ThreadPoolExecutor, uid: str) -> Future[None]:
    """An ADD that the loop has heard of and settled as far as it can."""
    call = pool.submit(site.attached.admission.admit, LEASE, time.monotonic() + 10, uid)
    assert select.select([site.attached], [], [], 10)[0]
    site.hand_out(site.attached.hear())
    site.sync()
    return call


KNOWN = {
    "of this uid": (pod("u2"), "u2"),
    "without a uid, from a folder": (pod(), "u2"),
    "of whatever uid, where the runtime says none": (pod("u2"), ""),
    "a static one's mirror": (
        pod("another", annotations={"kubernetes.io/config.mirror": "u2"}),
        "u2",
    ),
}


@pytest.mark.parametrize(("told", "uid"), KNOWN.values(), ids=KNOWN.keys())
def test_a_pod_that_the_feed_told_of_goes_on(
    site: Site, pool: ThreadPoolExecutor, told: Pod, uid: str
) -> None:
    site.hand_out(site.read(policy(), told))
    site.sync()
    assert coming(site, pool, uid).result(10) is None


def test_a_pod_made_anew_under_its_name_waits_until_the_feed_tells_of_it(
    site: Site, pool: ThreadPoolExecutor
) -> None:
    site.hand_out(site.read(policy(), pod("u1")))
    site.sync()
    call = coming(site, pool, "u2")
    assert not call.done()
    site.hand_out(site.read(pod("u2", labels={"app": "vault"})))
    site.sync()
    assert call.result(10) is None


POLICIES = {
    "a policy of its namespace": policy(),
    "a cluster policy": cluster_policy(),
}


@pytest.mark.parametrize("some", POLICIES.values(), ids=POLICIES.keys())
def test_a_pod_nobody_told_of_goes_on_after_a_while_denied_until_known(
    site: Site,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    some: KubernetesObject,
) -> None:
    monkeypatch.setattr("podwire_node.cni.admission.admission.PATIENCE", 2.0)
    site.hand_out(site.read(some))
    site.sync()
    assert not site.is_open
    call = coming(site, pool, "u2")
    assert site.intake.snapshot.has(Attached), "before it gets its network"
    assert call.result(10) is None
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "Pod default/web (uid u2) is not known yet" in caplog.text
    assert select.select([site.attached], [], [], 10)[0], "the loop hears of it"
    site.hand_out(site.attached.hear())
    site.sync()
    (problem,) = site.attached.problems
    assert "Pod default/web (uid u2) is unknown" in problem
    site.hand_out(site.read(pod("u2")))
    site.sync()
    assert site.attached.problems == []


def test_a_pod_that_is_not_in_the_kernel_in_time_gets_no_network(
    site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.cni.admission.admission.PATIENCE", 2.0)
    site.hand_out(site.read(policy()))
    site.sync()
    call = pool.submit(site.attached.admission.admit, LEASE, time.monotonic() + 10)
    assert select.select([site.attached], [], [], 10)[0]
    site.hand_out(site.attached.hear())
    site.attached.settle()  # nothing was put in force
    with pytest.raises(TryAgain, match="policies to be in the kernel"):
        call.result(10)


def test_a_pod_nobody_told_of_is_let_go_when_it_leaves(
    site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.cni.admission.admission.PATIENCE", 2.0)
    site.hand_out(site.read(policy()))
    site.sync()
    assert coming(site, pool, "u2").result(10) is None
    site.attached.admission.leave(LEASE)
    site.hand_out(site.attached.hear())
    site.sync()
    assert (site.attached.problems, site.intake.snapshot.has(Attached)) == ([], False)

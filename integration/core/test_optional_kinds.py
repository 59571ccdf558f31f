"""ServiceCIDRs: servers have them since 1.33, and nothing waits for a server that has none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from control_plane import ControlPlane, control_plane
from feed_reader import Reader

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import RESOURCES, ClusterFeed
from podwire_core.feed.reflector import Resource
from podwire_core.objects import Node, ObjectName, Service, ServiceCIDR

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
NAME = ObjectName("", "kubernetes")  # the server's own
#: What an agent of the component proxy reads, but for slices.
OF_PROXY = [row for row in RESOURCES if row.kind in {Node, Service, ServiceCIDR}]
RULES = [{"apiGroups": [""], "resources": ["nodes", "services"], "verbs": ["list", "watch"]}]
CIDR_RULE = {"apiGroups": ["networking.k8s.io"], "resources": ["servicecidrs"]}


@contextmanager
def following(
    plane: ControlPlane,
    kubeconfig: Path | None = None,
    resources: Sequence[Resource] = OF_PROXY,
) -> Iterator[Reader]:
    with plane.netns.inside():
        feed = ClusterFeed(ApiServer.connect(kubeconfig or plane.kubeconfig), resources)
    with feed:
        yield Reader(feed)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


def test_ranges_of_services_are_read_and_followed(plane: ControlPlane) -> None:
    with following(plane) as reader:
        reader.until("everything was read", lambda: reader.synced)
        found = reader.snapshot.get(ServiceCIDR, NAME)
        assert found is not None
        assert found.cidrs == ("10.96.0.0/16",)
        more = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}}
        plane.request("POST", CIDRS, more)
        reader.until("another came", lambda: reader.has(ServiceCIDR, "more", ""))
        plane.request("DELETE", f"{CIDRS}/more")
        reader.until("it went", lambda: not reader.has(ServiceCIDR, "more", ""))
        assert reader.errors == []


def test_a_server_without_the_kind_is_no_error_and_holds_up_nothing(plane: ControlPlane) -> None:
    # What an older server says of the real path; today's cannot be told to leave it away.
    elsewhere = Resource(ServiceCIDR, "/apis/networking.k8s.io/v9/servicecidrs", optional=True)
    waits = []
    for _ in range(3):
        began = time.monotonic()
        with following(plane, resources=[*OF_PROXY[:2], elsewhere]) as reader:
            reader.until("everything was read", lambda: reader.synced)
            waits.append(time.monotonic() - began)
    assert min(waits) < 3, "it is not asked REFUSALS times before"
    with following(plane, resources=[*OF_PROXY[:2], elsewhere]) as reader:
        reader.until("everything was read", lambda: reader.synced)
        reader.until("its other kinds are followed", lambda: reader.has(Service, "kubernetes"))
        assert reader.unread == {}
        assert reader.waiting == ()
        time.sleep(4)  # REFUSALS answers with their back-off
        reader.read()
        assert reader.errors == []
        assert reader.standing == ()


def test_a_kind_that_a_server_learns_is_found(plane: ControlPlane) -> None:
    later = Resource(ServiceCIDR, "/apis/example.com/v1/later", optional=True, absent_s=1)
    with following(plane, resources=[later]) as reader:
        reader.until("it goes on without", lambda: reader.synced)
        definition = crd()
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        plane.request("POST", path, definition)
        reader.until("it is served", lambda: served(plane))
        body = {"apiVersion": "example.com/v1", "kind": "Later", "metadata": {"name": "one"}}
        plane.request("POST", "/apis/example.com/v1/later", body)
        reader.until("it was found", lambda: reader.has(ServiceCIDR, "one", ""))
        assert reader.told("404") == []  # while it comes it says 429: it is being set up


def served(plane: ControlPlane) -> bool:
    try:
        plane.request("GET", "/apis/example.com/v1/later")
    except OSError:
        return False
    return True


def crd() -> dict[str, object]:
    """A kind that the server does not know at first."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "later", "singular": "later", "kind": "Later"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "later.example.com"},
        "spec": {
            "group": "example.com",
            "names": names,
            "scope": "Cluster",
            "versions": [version],
        },
    }


def test_a_kind_that_is_forbidden_is_told_once_and_holds_up_nothing(
    plane: ControlPlane, tmp_path: Path
) -> None:
    token = plane.account("no-ranges", RULES)
    kubeconfig = plane.write_kubeconfig(tmp_path / "config", {"token": token})
    with following(plane, kubeconfig) as reader:
        reader.until("the rest was read", lambda: reader.synced)
        assert reader.unread == {}
        (standing,) = reader.standing
        assert standing.object == "ServiceCIDR", "else it would say that the server is away"
        assert "403" in str(standing)
        assert "going on without ServiceCIDR objects" in str(standing)
        rules = [*RULES, {**CIDR_RULE, "verbs": ["list", "watch"]}]
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/no-ranges"
        plane.request("PATCH", path, {"rules": rules})
        reader.until("it is read", lambda: reader.has(ServiceCIDR, "kubernetes", ""))
        reader.until("nothing stands", lambda: reader.standing == ())
        assert len(reader.told("going on without")) == 1


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_a_label_given_and_taken_away_is_an_end_and_a_beginning(
    plane: ControlPlane, label: str
) -> None:
    services = "/api/v1/namespaces/default/services"
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    name = f"toggled-{label}"
    spec = {"ports": [{"port": 80}]}
    plane.request("POST", services, {"metadata": {"name": name}, "spec": spec})
    made = {"metadata": {"name": name}, "addressType": "IPv4", "endpoints": [], "ports": []}
    plane.request("POST", slices, made)

    def toggle(value: str | None) -> None:
        labels = {"metadata": {"labels": {f"service.kubernetes.io/{label}": value}}}
        for path in (services, slices):
            plane.request("PATCH", f"{path}/{name}", labels)

    with following(plane, resources=RESOURCES) as reader:

        def there() -> set[bool]:
            kinds = (row.kind for row in RESOURCES if row.kind.__name__ in KINDS)
            return {reader.has(kind, name) for kind in kinds}

        both: Callable[[], bool] = lambda: there() == {True}  # noqa: E731 - a fact in a word
        reader.until("both are there", both)
        toggle("")  # an empty value is a label, too
        reader.until("both went", lambda: there() == {False})
        toggle(None)
        reader.until("both came back", both)
    for path in (services, slices):
        plane.request("DELETE", f"{path}/{name}")


KINDS = {"Service", "EndpointSlice"}

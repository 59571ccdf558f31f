"""The real kube-proxy beside our web thread: who asks the one or the other hears the same.

Where they differ on purpose, a test says so.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from control_plane import ControlPlane, control_plane
from plane_node import plane_node
from prometheus_client.parser import text_string_to_metric_families
from scratch import Netns, until

from podwire_core.objects import ObjectName
from podwire_node.metrics import Metrics
from podwire_node.web import pages
from podwire_node.web.health import HealthState
from podwire_node.web.server import Fixed, Web
from podwire_proxy.health import HealthCheck

HEALTHZ, METRICS = 10256, 10249
NODE, SERVICE = "peer", ObjectName("default", "shop")
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
PORTS = [
    {"name": "http", "port": 80, "protocol": "TCP"},
    {"name": "dns", "port": 53, "protocol": "UDP"},  # which makes conntrack of interest
]
Answer = tuple[int, bytes, dict[str, str]]


class Peers:
    """Asks the one and the other the same."""

    def __init__(self, theirs: Netns, ours: Netns, health_check_port: int) -> None:
        self.theirs, self.ours, self.port = theirs, ours, health_check_port

    def ask(self, port: int, path: str, method: str = "GET") -> tuple[Answer, Answer]:
        return ask(self.theirs, port, path, method), ask(self.ours, port, path, method)


def ask(netns: Netns, port: int, path: str, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with netns.inside():
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture(scope="module")
def peers(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = tmp_path_factory.mktemp("peers")
    with plane_node(plane, 2) as theirs, plane_node(plane, 3) as ours:
        port = fill(plane)
        process = kube_proxy(plane, theirs, folder)
        try:
            with ours.inside():
                web = podwires(port)
            until("kube-proxy has synced", lambda: serving(theirs, port), 60)
            until("we serve", lambda: serving(ours, port))
            yield Peers(theirs, ours, port)
            web.close()
        finally:
            process.terminate()
            process.wait(20)


def serving(netns: Netns, port: int) -> bool:
    try:
        return all(ask(netns, each, "/healthz")[0] == 200 for each in (HEALTHZ, METRICS, port))
    except OSError:
        return False


def fill(plane: ControlPlane) -> int:
    """A node, a Service with a health check port and an endpoint there; the port."""
    plane.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    address = {"type": "InternalIP", "address": "192.168.90.2"}
    status = {"status": {"addresses": [address]}}
    plane.request("PATCH", f"/api/v1/nodes/{NODE}/status", status)
    service: dict[str, Any] = {
        "metadata": {"name": SERVICE.name},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "ports": PORTS,
        },
    }
    made = plane.request("POST", "/api/v1/namespaces/default/services", service)
    endpoint = {"addresses": ["10.244.0.5"], "nodeName": NODE, "conditions": {"ready": True}}
    endpoint_slice = {
        "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": SERVICE.name}},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": PORTS,
    }
    plane.request("POST", SLICES, endpoint_slice)
    return int(made["spec"]["healthCheckNodePort"])


def kube_proxy(plane: ControlPlane, netns: Netns, folder: Path) -> subprocess.Popen[str]:
    """kube-proxy with its defaults, but for the sysctls of the whole machine."""
    server = "https://192.168.90.1:6443"
    kubeconfig = plane.write_kubeconfig(folder / "proxy.yaml", {"token": "admin-token"}, server)
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": NODE,
        "nodePortAddresses": ["0.0.0.0/0"],
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    file = folder / "kube-proxy.json"
    file.write_text(json.dumps(config))
    with (folder / "kube-proxy.log").open("w") as log:
        return subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{netns.name}"),
                *(str(plane.programs / "kube-proxy"), f"--config={file}"),
            ],
            stdout=log,
            stderr=log,
            text=True,
        )


def podwires(port: int) -> Web:
    health, metrics = HealthState(), Metrics()
    health.updated()
    health_page = pages.health_pages(health, metrics)
    metrics_page = pages.metrics_pages(metrics, lambda: "nftables", {})
    web = Web(
        health,
        (
            Fixed("healthz", "0.0.0.0", HEALTHZ, health_page),
            Fixed("metrics", "127.0.0.1", METRICS, metrics_page),
        ),
    )
    web.set_health_checks({SERVICE: HealthCheck(port, 1)})
    return web


def told(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """What of an answer is not about the connection or the moment."""
    status, body, headers = answer
    passing = {"Date", "Connection"}
    return status, body, {key: each for key, each in headers.items() if key not in passing}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_health_check_port_answers_alike_to_the_byte(peers: Peers, method: str) -> None:
    theirs, ours = peers.ask(peers.port, "/any", method)
    if method == "HEAD":  # Go does not count a body that it does not send
        ours[2].pop("Content-Length")
        theirs[2].pop("Content-Length", None)
    assert told(ours) == told(theirs)


@pytest.mark.parametrize("path", ["/proxyMode", "/healthz", "/none"])
def test_the_metrics_site_answers_alike(peers: Peers, path: str) -> None:
    theirs, ours = peers.ask(METRICS, path)
    assert ours[:2] == theirs[:2] or path == "/none"  # theirs lists every path it has
    assert ours[0] == theirs[0]
    assert ours[2]["Content-Type"] == theirs[2]["Content-Type"] or path == "/none"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/none"])
def test_health_has_the_same_codes_and_types(peers: Peers, path: str) -> None:
    theirs, ours = peers.ask(HEALTHZ, path)
    assert ours[0] == theirs[0]
    assert ours[2]["Content-Type"] == theirs[2]["Content-Type"]
    assert ours[2]["X-Content-Type-Options"] == theirs[2]["X-Content-Type-Options"]


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
def test_health_has_the_fields_of_every_version_of_kube_proxy(peers: Peers, path: str) -> None:
    """Since 1.34 kube-proxy adds `healthy` and `status`, and spells times as RFC 3339."""
    theirs, ours = (json.loads(answer[1]) for answer in peers.ask(HEALTHZ, path))
    assert ours.keys() == theirs.keys() - {"healthy", "status"}


def test_metrics_have_the_names_types_labels_and_buckets(peers: Peers, plane: ControlPlane) -> None:
    """Of all that kube-proxy shows once a change has passed through it."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": when}
    change = {"metadata": {"annotations": annotations}, "endpoints": []}
    plane.request("PATCH", f"{SLICES}/s", change)
    last = b"kubeproxy_sync_partial_proxy_rules_duration_seconds_count"
    until("it is synced", lambda: last in ask(peers.theirs, METRICS, "/metrics")[1])
    theirs, ours = (shape(answer[1].decode()) for answer in peers.ask(METRICS, "/metrics"))
    assert {name: ours.get(name) for name in theirs} == theirs
    never_happened = {
        "kubeproxy_sync_proxy_rules_nftables_cleanup_failures",
        "kubeproxy_sync_proxy_rules_nftables_sync_failures",
        "kubeproxy_conntrack_reconciler_deleted_entries",
    }
    assert ours.keys() - theirs.keys() <= never_happened


class Shape(NamedTuple):
    """A family without its values."""

    type: str
    labels: set[str]
    buckets: list[float]


def shape(text: str) -> dict[str, Shape]:
    """kube-proxy's families, those of IPv4 where they have a family."""
    found: dict[str, Shape] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("kubeproxy_"):
            labels = [each.labels for each in family.samples]
            v4 = [each for each in labels if each.get("ip_family", "IPv4") == "IPv4"]
            buckets = [float(each["le"]) for each in v4 if "le" in each]  # Go spells 1.0 as 1
            found[family.name] = Shape(family.type, {name for each in v4 for name in each}, buckets)
    return found

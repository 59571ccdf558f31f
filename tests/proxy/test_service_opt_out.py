"""What is labelled as someone else's is not served, wherever it was read."""

from __future__ import annotations

import msgspec
import pytest
from proxy_stage import HERE

from podwire_core.nft.desired import Walk
from podwire_core.objects import EndpointSlice, KubernetesObject, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.services import Services

LABELS = [
    {"service.kubernetes.io/service-proxy-name": "other"},
    {"service.kubernetes.io/service-proxy-name": ""},
    {"service.kubernetes.io/headless": ""},
]


def service(labels: dict[str, str]) -> Service:
    document = {
        "metadata": {"name": "web", "labels": labels},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
    }
    return msgspec.convert(document, Service)


def endpoints(labels: dict[str, str]) -> EndpointSlice:
    document = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web", **labels}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.5"]}],
        "ports": [{"port": 8080}],
    }
    return msgspec.convert(document, EndpointSlice)


def wanted(*steps: KubernetesObject) -> set[str]:
    """What is wanted for 10.96.0.10 and its endpoint after these objects came one by one."""
    services, snapshot = Services(HERE), Snapshot()
    services.update(snapshot, [])
    before = set(services.wanted)
    for each in steps:
        change = Change(type(each), each.name, each)
        snapshot.apply(change)
        services.update(snapshot, [change])
    assert isinstance(services.wanted, Walk)
    return {key[3] for key in services.wanted if len(key) == 5 and key not in before}


SERVED = {"cluster-ips", "frontends", "endpoints-tcp", "hairpin"}


def test_what_is_not_labelled_is_served() -> None:
    assert wanted(service({}), endpoints({})) == SERVED


@pytest.mark.parametrize("labels", LABELS)
def test_a_service_that_opts_out_is_not_served(labels: dict[str, str]) -> None:
    assert wanted(service(labels), endpoints({})) == set()


@pytest.mark.parametrize("labels", LABELS)
def test_a_slice_that_opts_out_gives_no_endpoint(labels: dict[str, str]) -> None:
    assert wanted(service({}), endpoints(labels)) == {"cluster-ips", "unavailable"}


@pytest.mark.parametrize("labels", LABELS)
def test_a_label_that_comes_later_takes_the_service_away_and_back(labels: dict[str, str]) -> None:
    assert wanted(service({}), endpoints({}), service(labels)) == set()
    assert wanted(service(labels), endpoints({}), service({})) == SERVED
    assert wanted(service({}), endpoints({}), endpoints(labels)) == {"cluster-ips", "unavailable"}

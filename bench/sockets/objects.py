"""The cluster of cluster.py, and a few Services of UDP beside its Services of TCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cluster
from programming import decoded, objects

from podwire_core.objects import EndpointSlice, KubernetesObject, Service

RESOLVERS = 10
PORT = 53


def everything(services: int, endpoints: int) -> Iterator[KubernetesObject]:
    """All of it, decoded as the feed does it."""
    yield from objects(services, endpoints)
    for number in range(services, services + RESOLVERS):
        yield decoded(_service(number), Service)
        yield decoded(_slice(number, endpoints), EndpointSlice)


def endpoints(services: int, of_each: int) -> list[str]:
    """All endpoints of the TCP Services: more destinations cost more, so there are as many."""
    numbers = [(number, index) for number in range(services) for index in range(of_each)]
    return [f"{cluster.endpoint_address(*each)}:{cluster.TARGET_PORT}" for each in numbers]


def resolvers(services: int) -> list[str]:
    """The UDP Services' addresses and ports."""
    numbers = range(services, services + RESOLVERS)
    return [f"{cluster.service_address(number)}:{PORT}" for number in numbers]


def resolver_endpoints(services: int) -> list[str]:
    """One endpoint of each UDP Service."""
    numbers = range(services, services + RESOLVERS)
    return [f"{cluster.endpoint_address(number, 1)}:{cluster.TARGET_PORT}" for number in numbers]


def _service(number: int) -> dict[str, Any]:
    made = cluster.service(number)
    port = {"name": "http", "port": PORT, "protocol": "UDP", "targetPort": cluster.TARGET_PORT}
    return {**made, "spec": {**made["spec"], "ports": [port]}}


def _slice(number: int, endpoints: int) -> dict[str, Any]:
    made = cluster.endpoint_slice(number, endpoints)
    return {**made, "ports": [{**made["ports"][0], "protocol": "UDP"}]}

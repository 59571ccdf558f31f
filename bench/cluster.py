"""A cluster as its API server tells of it: Nodes, Services, and slices full of endpoints.

    10.96.1.0 …     Services, service-00000 …       10.128.0.0/10  endpoints, spread over the Nodes
    192.168.90.2 …  Nodes, node-000 …               10.227.0.0/16  the last Node's pods: clients

One endpoint of a hundred is on a given Node. Plain documents, the same at each call.
"""

from __future__ import annotations

from typing import Any

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
NODES = "/api/v1/nodes"
NODE_COUNT = 100
PODS = "10.128.0.0/9"
ENDPOINTS = "10.128.0.0/10"
CLIENT = "10.227.0.1"
PORT, TARGET_PORT = 80, 8080
ROOM = 16  # addresses kept for each Service: it has no more endpoints


def node(number: int) -> dict[str, Any]:
    """A Node with an address and a podCIDR of its own."""
    cidr = f"10.{128 + number}.0.0/16"
    address = {"type": "InternalIP", "address": f"192.168.90.{2 + number}"}
    return {
        "metadata": {"name": f"node-{number:03}"},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [address]},
    }


def service_address(number: int) -> str:
    """The address of a Service; the first 65,000 are in 10.96.0.0/16."""
    where = 256 + number
    return f"10.{96 + where // 65536}.{where // 256 % 256}.{where % 256}"


def service(number: int) -> dict[str, Any]:
    """A Service with one port."""
    name = f"service-{number:05}"
    ports = [{"name": "http", "port": PORT, "targetPort": TARGET_PORT}]
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": name, "tier": "bench"},
        },
        "spec": {"clusterIP": service_address(number), "selector": {"app": name}, "ports": ports},
    }


def endpoint_address(number: int, index: int) -> str:
    """The address of one endpoint of a Service."""
    where = number * ROOM + index
    return f"10.{128 + where // 65536}.{where // 256 % 256}.{where % 256}"


def endpoint(number: int, index: int) -> dict[str, Any]:
    """One endpoint as the real controller writes them."""
    where = number * ROOM + index
    return {
        "addresses": [endpoint_address(number, index)],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{where % NODE_COUNT:03}",
        "targetRef": {
            "kind": "Pod",
            "namespace": "default",
            "name": f"service-{number:05}-{index}",
            "uid": f"00000000-0000-4000-8000-{where:012}",
        },
    }


def endpoint_slice(number: int, endpoints: int) -> dict[str, Any]:
    """The slice of one Service."""
    name = f"service-{number:05}"
    labels = {
        "app": name,
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint(number, index) for index in range(endpoints)],
        "ports": [{"name": "http", "port": TARGET_PORT, "protocol": "TCP"}],
    }

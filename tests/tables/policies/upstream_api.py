"""The cases of Kubernetes' own policy tests that are about no packet: which policies the API takes.

Source: kubernetes/test/e2e/network/netpol/network_policy_api.go, 2026.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from policy_model import match, namespaces, pods


class Spelled(NamedTuple):
    """A policy as it is written, and what is wrong with it: "" if nothing is."""

    document: dict[str, Any]
    refused: str = ""


class ApiCase(NamedTuple):
    """A case of the API, which is about no packet."""

    name: str
    policies: tuple[Spelled, ...]


def spelled(refused: str = "", **spec: Any) -> Spelled:
    """A document as the API has it."""
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "x", "name": "e2e-example-netpol"},
        "spec": {"podSelector": match(**{"pod-name": "test-pod"}), **spec},
    }
    return Spelled(document, refused)


def ending(refused: str, **row: Any) -> Spelled:
    """A policy with one port of an egress rule, whose endPort is 20000."""
    return spelled(refused, egress=[{"ports": [{**row, "endPort": 20000}]}])


API_CASES = (
    ApiCase(
        "should support creating NetworkPolicy API operations",
        (
            spelled(
                ingress=[
                    {
                        "from": [
                            {
                                **namespaces(match(**{"ns-name": "pod-b"})),
                                **pods(match(**{"pod-name": "client-a"})),
                            }
                        ]
                    }
                ]
            ),
        ),
    ),
    ApiCase(
        "should support creating NetworkPolicy API with endport field",
        (
            ending("endPort"),
            ending("endPort", port="serve-80"),
            ending("endPort", port=30000),
            ending("", port=20000),
            ending("", port=10000),
        ),
    ),
)

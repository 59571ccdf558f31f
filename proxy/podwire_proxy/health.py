"""What a load balancer may ask a node about one Service (spec.healthCheckNodePort)."""

from __future__ import annotations

from typing import NamedTuple


class HealthCheck(NamedTuple):
    """A Service of type LoadBalancer with externalTrafficPolicy Local, as its port answers.

    port: spec.healthCheckNodePort, at which every node answers. local_endpoints: distinct ready
    addresses on this node over all ports of the Service; one that is terminating does not count.
    """

    port: int
    local_endpoints: int

"""Who has which health check port.

The API server gives no port twice, but what a folder holds may, and so may an API server while a
Service is deleted and made again. Then the first by name has it, on every node alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from podwire_core.objects import ObjectName
from podwire_proxy.health import HealthCheck

MAX_PORTS = 1000


class Shares(NamedTuple):
    """granted: Services and their ports, in order. refused: why the others have none."""

    granted: dict[ObjectName, int]
    refused: dict[ObjectName, str]


def share_out(checks: Mapping[ObjectName, HealthCheck], most: int = MAX_PORTS) -> Shares:
    """Give each Service its port, at most `most`, no port twice."""
    shares = Shares({}, {})
    owners: dict[int, ObjectName] = {}
    for name, (port, _) in sorted(checks.items()):
        if not 0 < port < 65536:
            shares.refused[name] = f"{port} is no port: it must be between 1 and 65535"
        elif port in owners:
            shares.refused[name] = f"port {port} is that of Service {owners[port]} already"
        elif len(owners) >= most:
            shares.refused[name] = f"there are more than {most}; this one is not served"
        else:
            owners[port] = name
            shares.granted[name] = port
    return shares

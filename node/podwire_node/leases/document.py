"""Leases as JSON.

    {"stateDir": "/run/podwire/cni",
     "leases": [{"network": "podnet", "container": "…", "interface": "eth0", "link": "pw…",
                 "pod": "default/web", "addresses": ["10.244.1.5", "fd00::5"],
                 "ports": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp",
                            "hostIP": ""}],
                 "allocated": 1763755200.5}],
     "resting": [{"address": "10.244.1.4", "released": 1763755190.0}]}

link is the host's end of the pod's veth pair; times are seconds since the epoch. `pod` is a name
alone where the runtime tells no namespace (podman), and "" where it tells no name either.
"""

from __future__ import annotations

import msgspec

from podwire_cni.leases import Lease
from podwire_cni.ports import PortMapping
from podwire_node.leases.listing import Listing, pod_of


def listing_json(listing: Listing) -> str:
    """See the module's docstring."""
    document = {
        "stateDir": str(listing.state_dir),
        "leases": [_lease(lease) for lease in listing.leases],
        "resting": [{"address": str(one), "released": at} for one, at in listing.resting],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _lease(lease: Lease) -> dict[str, object]:
    return {
        "network": lease.attachment.network,
        "container": lease.attachment.container,
        "interface": lease.attachment.interface,
        "link": lease.attachment.host_name,
        "pod": pod_of(lease),
        "addresses": [str(address) for address in lease.addresses],
        "ports": [_port(port) for port in lease.ports],
        "allocated": lease.allocated,
    }


def _port(port: PortMapping) -> dict[str, object]:
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol,
        "hostIP": port.host_ip,
    }

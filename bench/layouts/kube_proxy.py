"""kube-proxy's nftables layout, as version 1.36 writes it for ClusterIPs.

    service-ips   address . protocol . port  ─►  goto service-HASH-ns/name/protocol/port
    that chain    meta l4proto tcp dnat ip to numgen random mod 3 map { 0 : 10.… . 8080, … }
    and           cluster-ips, hairpin-connections (local endpoints only), base chains

So a Service has a chain and an anonymous map of its own. One command a line, all of it in one
transaction for `nft -f -`, as kube-proxy sends it. Sets for what the bench has none of (NodePorts,
firewalls, Services with no endpoint) are there and empty, so that packets pay for them.

Source: `nft list table ip kube-proxy` under kube-proxy 1.36.3, whose table this is but for the
name's hash.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator, Sequence

from layouts import NODE
from podwire_core.objects import EndpointSlice, KubernetesObject, Service

PODS = "10.128.0.0/9"  # its clusterCIDR
_SERVICE_CIDR = "10.96.0.0/12"

_VIP = "ipv4_addr . inet_proto . inet_service"
_SETS = f"""
add table ip kube-proxy
add set ip kube-proxy hairpin-connections {{ type ipv4_addr . {_VIP} ; }}
add set ip kube-proxy cluster-ips {{ type ipv4_addr ; }}
add map ip kube-proxy no-endpoint-services {{ type {_VIP} : verdict ; }}
add map ip kube-proxy no-endpoint-nodeports {{ type inet_proto . inet_service : verdict ; }}
add map ip kube-proxy firewall-ips {{ type {_VIP} : verdict ; }}
add map ip kube-proxy service-ips {{ type {_VIP} : verdict ; }}
add map ip kube-proxy service-nodeports {{ type inet_proto . inet_service : verdict ; }}
""".strip()
_BASES = {
    "filter-prerouting-pre-dnat": "type filter hook prerouting priority -110",
    "filter-output-pre-dnat": "type filter hook output priority -110",
    "filter-input": "type filter hook input priority 0",
    "filter-forward": "type filter hook forward priority 0",
    "filter-output": "type filter hook output priority 0",
    "nat-prerouting": "type nat hook prerouting priority -100",
    "nat-output": "type nat hook output priority -100",
    "nat-postrouting": "type nat hook postrouting priority 100",
}
_KEY = "ip daddr . meta l4proto . th dport"
_AT_NODE = "ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap"
_RULES: dict[str, Sequence[str]] = {
    "firewall-check": [f"{_KEY} vmap @firewall-ips"],
    "nodeport-endpoints-check": [f"{_AT_NODE} @no-endpoint-nodeports"],
    "service-endpoints-check": [f"{_KEY} vmap @no-endpoint-services"],
    "cluster-ips-check": ["ip daddr @cluster-ips reject", f"ip daddr {_SERVICE_CIDR} drop"],
    "services": [
        f"ip daddr @cluster-ips ip saddr != {PODS} meta mark set mark or 0x4000",
        f"{_KEY} vmap @service-ips",
        f"fib daddr type local {_AT_NODE} @service-nodeports",
    ],
    "masquerading": [
        "mark and 0x4000 != 0 meta mark set mark xor 0x4000 masquerade fully-random",
        f"ct status dnat ip saddr . {_KEY} @hairpin-connections masquerade fully-random",
    ],
    "reject-chain": ["reject"],
    "filter-prerouting-pre-dnat": ["ct state new jump firewall-check"],
    "filter-output-pre-dnat": ["ct state new jump firewall-check"],
    "filter-input": [
        "ct state new jump nodeport-endpoints-check",
        "ct state new jump service-endpoints-check",
    ],
    "filter-forward": [
        "ct state new jump service-endpoints-check",
        "ct state new jump cluster-ips-check",
    ],
    "filter-output": [
        "ct state new jump service-endpoints-check",
        "ct state new jump cluster-ips-check",
    ],
    "nat-prerouting": ["jump services"],
    "nat-output": ["jump services"],
    "nat-postrouting": ["jump masquerading"],
}


class KubeProxyLayout:
    """Implements layouts.Layout."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._hairpins: dict[str, set[str]] = {}

    def load(self, objects: Sequence[KubernetesObject]) -> None:
        """See Layout.load."""
        self._services = {str(each.name): each for each in objects if isinstance(each, Service)}
        lines = list(_skeleton())
        for each in objects:
            if isinstance(each, EndpointSlice):
                lines += self._joined(each)
        _send(lines)

    def change(self, now: EndpointSlice) -> None:
        """See Layout.change."""
        service = self._services[str(now.service)]
        _send([*_chain(service, now), *self._hairpin_changes(now)])

    def _joined(self, each: EndpointSlice) -> Iterator[str]:
        """Everything of one Service."""
        service = self._services[str(each.service)]
        address, port = service.spec.cluster_ip, (service.spec.ports or ())[0].port
        yield from _chain(service, each)
        yield f"add element ip kube-proxy cluster-ips {{ {address} }}"
        element = f"{address} . {_protocol(each)} . {port} : goto {_chain_name(service, each)}"
        yield f"add element ip kube-proxy service-ips {{ {element} }}"
        yield from self._hairpin_changes(each)

    def _hairpin_changes(self, each: EndpointSlice) -> Iterator[str]:
        before = self._hairpins.get(str(each.name), set())
        now = {
            f"{endpoint.addresses[0]} . {endpoint.addresses[0]} . {_protocol(each)} . {_port(each)}"
            for endpoint in each.endpoints or ()
            if endpoint.node_name == NODE
        }
        for gone in sorted(before - now):
            yield f"delete element ip kube-proxy hairpin-connections {{ {gone} }}"
        for new in sorted(now - before):
            yield f"add element ip kube-proxy hairpin-connections {{ {new} }}"
        self._hairpins[str(each.name)] = now


def _skeleton() -> Iterator[str]:
    yield from _SETS.splitlines()
    for name in _RULES:
        hook = f" {{ {_BASES[name]} ; }}" if name in _BASES else ""
        yield f"add chain ip kube-proxy {name}{hook}"
    for name, rules in _RULES.items():
        for rule in rules:
            yield f"add rule ip kube-proxy {name} {rule}"


def _chain(service: Service, each: EndpointSlice) -> Iterator[str]:
    """The Service's own chain, written anew."""
    name, port = _chain_name(service, each), _port(each)
    backends = [f"{endpoint.addresses[0]} . {port}" for endpoint in each.endpoints or ()]
    choices = ", ".join(f"{number} : {backend}" for number, backend in enumerate(backends))
    choose = f"numgen random mod {len(backends)} map {{ {choices} }}"
    yield f"add chain ip kube-proxy {name}"
    yield f"flush chain ip kube-proxy {name}"
    yield f"add rule ip kube-proxy {name} meta l4proto {_protocol(each)} dnat ip to {choose}"


def _chain_name(service: Service, each: EndpointSlice) -> str:
    name = f"{service.name}/{_protocol(each)}/{(service.spec.ports or ())[0].name}"
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:8]
    return f"service-{digest}-{name}"


def _port(each: EndpointSlice) -> int:
    return (each.ports or ())[0].port or 0


def _protocol(each: EndpointSlice) -> str:
    return (each.ports or ())[0].protocol.lower()


def _send(lines: Sequence[str]) -> None:
    subprocess.run(["nft", "-f", "-"], input="\n".join(lines), text=True, check=True)

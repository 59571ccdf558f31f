"""Two nodes, their pods and a host outside, as network namespaces that only pass packets on.

```
     pods of n1                                          pods of n2
   │eth0 │eth0 │eth0                                   │eth0 │eth0
   └──┬──┴──┬──┘                                       └──┬──┘
   pw0   pw1 …          fabric         fabric          pw3   pw4 …
      └── n1 ───────────────────────────────────────── n2 ──┘
           │ outside                            outside │
           └──── n1 ────────── outside ─────────── n2 ──┘
```

Pods and the host outside have no IP stack of their own: what is sent there is made by hand, what
comes out is looked at, and nobody answers. Each address has a host route and a permanent
neighbour on both nodes, so that nothing is resolved and no packet waits.

MARK is an address beyond n2: what the outside sends there by n1 takes as many hops as a packet of
the longest way between two pods does, and no policy is about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import scratch
from scratch import Netns

MARK = "198.18.0.1"
OUTSIDE = "outside"
_FORWARDING = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
)
_SILENT = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")


@dataclass(frozen=True)
class Site:
    """Who is there, with which addresses.

    nodes: two, by name. pods: by name, each with its node and its addresses. outside: the host's.
    """

    nodes: Mapping[str, tuple[str, ...]]
    pods: Mapping[str, tuple[str, tuple[str, ...]]]
    outside: tuple[str, ...]

    def homes(self) -> dict[str, str]:
        """Every address, and the place that has it."""
        found = dict.fromkeys(self.outside, OUTSIDE)
        for name, addresses in self.nodes.items():
            found |= dict.fromkeys(addresses, name)
        for name, (_, addresses) in self.pods.items():
            found |= dict.fromkeys(addresses, name)
        return found

    def node_of(self, place: str) -> str:
        """The node that a place is behind, or is; the first one for the host outside."""
        if place in self.pods:
            return self.pods[place][0]
        return place if place in self.nodes else next(iter(self.nodes))


@contextmanager
def built(site: Site) -> Iterator[dict[str, Netns]]:
    """Namespaces by the places' names; all are gone after the block."""
    with ExitStack() as undo:
        netns: dict[str, Netns] = {}
        for name in (*site.nodes, OUTSIDE, *site.pods):
            netns[name] = scratch.make()
            undo.callback(scratch.remove, netns[name])
            settings = _FORWARDING if name in site.nodes else _SILENT
            netns[name].run("sysctl", "-qw", *settings)
        for name, commands in _commands(site, netns).items():
            netns[name].ip(commands)
        yield netns


def mac(side: int, number: int) -> str:
    """side: 1 for a node's end, 2 for a guest's."""
    return f"02:00:00:00:0{side}:{number:02x}"


def number_of(site: Site, place: str) -> int:
    """By which a guest's two MAC addresses are told: pods from 0, the outside's links from 101."""
    if place in site.pods:
        return list(site.pods).index(place)
    return 101 + list(site.nodes).index(place)


def pod_device(site: Site, pod: str) -> str:
    """A node's end of a pod's link, by a name as the CNI plugin gives them."""
    return f"pw{number_of(site, pod)}"


def _commands(site: Site, netns: Mapping[str, Netns]) -> dict[str, list[str]]:
    """What makes the drawing, by place, in an order in which each link is made before its use."""
    found: dict[str, list[str]] = {name: [] for name in netns}
    first, second = site.nodes
    fabric = {first: mac(1, 201), second: mac(1, 202)}
    peer = f"peer name fabric address {fabric[second]} netns {netns[second].name}"
    found[first] += [f"link add fabric address {fabric[first]} type veth {peer}"]
    for node, other in ((first, second), (second, first)):
        found[node] += ["link set fabric up", *_own(site.nodes[node])]
        found[node] += _leads(site.nodes[other], "fabric", fabric[other])
        number = number_of(site, node)
        found[node] += _link(OUTSIDE, node, number, netns[OUTSIDE])
        found[node] += _leads(site.outside, OUTSIDE, mac(2, number))
        for pod, (home, addresses) in site.pods.items():
            if home != node:
                found[node] += _leads(addresses, "fabric", fabric[other])
                continue
            device, number = pod_device(site, pod), number_of(site, pod)
            found[node] += _link(device, "eth0", number, netns[pod])
            found[node] += _leads(addresses, device, mac(2, number))
            found[pod].append("link set eth0 up")
        found[OUTSIDE].append(f"link set {node} up")
    found[first] += _leads((MARK,), "fabric", fabric[second])
    found[second] += _leads((MARK,), OUTSIDE, mac(2, number_of(site, second)))
    return found


def _link(device: str, peer: str, number: int, guest: Netns) -> Iterator[str]:
    other = f"peer name {peer} address {mac(2, number)} netns {guest.name}"
    yield f"link add {device} address {mac(1, number)} type veth {other}"
    yield f"link set {device} up"


def _leads(addresses: tuple[str, ...], device: str, lladdr: str) -> Iterator[str]:
    for address in addresses:
        yield f"route add {address} dev {device}"
        yield f"neigh add {address} lladdr {lladdr} dev {device} nud permanent"


def _own(addresses: tuple[str, ...]) -> Iterator[str]:
    """IPv6: of use at once, without a search for duplicates."""
    for address in addresses:
        bits, nodad = ("128", "nodad") if ":" in address else ("32", "")
        yield f"address add {address}/{bits} dev fabric {nodad}"

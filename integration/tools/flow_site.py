"""The nodes and pods that tests/tables/flows/places.py draws, as network namespaces.

All links are of one shape, that of a pod: a veth pair, one address of its own on the guest's end,
a host route on the other, and permanent neighbours, so that nothing is ever resolved.

`beyond` is where node1's default route leads: addresses of balancers, which node1 should have
taken care of, answer there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import scratch
from flows.places import ADDRESSES, LINKS, LOCAL_PODS, POD_CIDRS, REMOTE_PODS
from flows.world import World
from scratch import Netns

from podwire_core.conntrack import Conntrack
from podwire_core.family import Family

BEYOND = "beyond"
PLACES = ("node", "node2", "outside", BEYOND, *LOCAL_PODS, *REMOTE_PODS)
_NEIGHBOURS = ("outside", "node2", *LOCAL_PODS, BEYOND)  # of node1
_GATEWAYS = {Family.IPV4: "169.254.1.1", Family.IPV6: "fe80::1"}
_WORLD = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")  # where balancers live
_SETTINGS = (
    "ipv4.ip_forward=1",
    "ipv6.conf.all.forwarding=1",
    "ipv4.conf.all.route_localnet=1",  # NodePorts at the loopback, where a world asks for them
    "ipv4.icmp_ratelimit=0",  # refusals of UDP and SCTP are ICMP
    "ipv6.icmp.ratelimit=0",
    # Before 6.12 these are the machine's, and no namespace has them: -e below.
    "ipv4.icmp_msgs_per_sec=1000000",
    "ipv4.icmp_msgs_burst=1000000",
)


@contextmanager
def site() -> Iterator[dict[str, Netns]]:
    """Namespaces by the places' names; all are gone after the block."""
    with ExitStack() as undo:
        netns: dict[str, Netns] = {}
        for name in PLACES:
            netns[name] = scratch.make()
            undo.callback(scratch.remove, netns[name])
        for name in ("node", "node2"):
            netns[name].run("sysctl", "-qew", *(f"net.{setting}" for setting in _SETTINGS))
        for name, commands in _commands(netns).items():
            netns[name].ip(commands)
        yield netns


def _commands(netns: dict[str, Netns]) -> dict[str, list[str]]:
    """What makes the drawing, by place, in an order in which each link is made before its use."""
    found: dict[str, list[str]] = {name: [] for name in PLACES}
    for number, name in enumerate(_NEIGHBOURS):
        found["node"] += _host_end(netns[name], LINKS.get(name, BEYOND), name, number)
        found[name] += _guest_end(name, number)
    for number, name in enumerate(REMOTE_PODS):
        found["node2"] += _host_end(netns[name], f"pod-{name}", name, number)
        found[name] += _guest_end(name, number)
    found["node"] += _own_addresses()
    for family, network in zip(Family, POD_CIDRS["node2"], strict=True):
        found["node"].append(f"route add {network} via {ADDRESSES['node2'][family]} dev fabric")
        next_hop = _far(family, _NEIGHBOURS.index(BEYOND))
        found["node"].append(f"route add default via {next_hop} dev {BEYOND} onlink")
    found[BEYOND] += [f"route add local {network} dev lo" for network in _WORLD]
    return found


def _far(family: Family, number: int) -> str:
    """The guest's link address: a next hop for whatever is not its own."""
    return f"169.254.2.{number}" if family is Family.IPV4 else f"fe80::2:{number}"


def _mac(side: int, number: int) -> str:
    return f"02:00:00:00:0{side}:{number:02x}"


def _host_end(guest: Netns, device: str, name: str, number: int) -> Iterator[str]:
    peer = f"peer name eth0 address {_mac(2, number)} netns {guest.name}"
    yield f"link add {device} address {_mac(1, number)} type veth {peer}"
    yield f"link set {device} up"
    for family in Family:
        next_hop = f"lladdr {_mac(2, number)} dev {device} nud permanent"
        yield f"neigh add {_far(family, number)} {next_hop}"
        if name in ADDRESSES:
            address = ADDRESSES[name][family]
            yield f"route add {address}/{family.bits} dev {device}"
            yield f"neigh add {address} {next_hop}"


def _guest_end(name: str, number: int) -> Iterator[str]:
    yield "link set eth0 up"
    for family, gateway in _GATEWAYS.items():
        yield f"neigh add {gateway} lladdr {_mac(1, number)} dev eth0 nud permanent"
        if name in ADDRESSES:
            yield _address(ADDRESSES[name][family], "eth0")
        yield f"route add default via {gateway} dev eth0 onlink"


def _address(address: str, device: str, *, spare: bool = False) -> str:
    """IPv6: of use at once, without a search for duplicates; spare: never a masquerader's."""
    if ":" not in address:
        return f"address add {address}/32 dev {device}"
    return f"address add {address}/128 dev {device} nodad {'preferred_lft 0' if spare else ''}"


def _own_addresses() -> Iterator[str]:
    """node1's. Masquerading takes the first, of IPv6 because the others are spare."""
    for name in ("node", "alt"):
        for address in ADDRESSES[name].values():
            yield _address(address, "uplink", spare=name != "node")
    yield "link add bound type veth peer name unused"
    yield "link set bound up"
    yield "link set unused up"


def enter(world: World, node: Netns) -> None:
    """Give node1 the addresses that it has in a world, and let it forget all connections."""
    addresses = [_address(each, "bound", spare=True) for each in world.bound_addresses()]
    node.ip(["address flush dev bound scope global", *addresses])
    forget_connections(node)


def forget_connections(node: Netns) -> None:
    """Let a namespace forget all connections."""
    with node.inside():
        table = Conntrack()
    for family in Family:
        table.delete(list(table.entries(family)))
    table.close()

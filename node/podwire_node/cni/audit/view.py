"""What an audit compares, as values: leases, and what the node's network namespace holds.

The order of reading is what makes a view safe to act on:

```
 leases ─► links, routes, neighbours ─► leases again ─► evidence of life, for suspects alone
```

An ADD leases before it links, and a DEL removes the link before it releases. So a link that was
seen had a lease then; and a lease that is in only one of the two readings is on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from podwire_cni.attachment import Attachment
from podwire_cni.family import IPAddress, IPNetwork
from podwire_cni.leases import Lease
from podwire_cni.ports import PortMapping
from podwire_node.cni.released.neighbours import Neighbour


@dataclass(frozen=True, slots=True)
class Link:
    """A veth of the node's namespace.

    mac, peer: hardware addresses; peer "" where not asked.  heard: packets that came from the pod.
    checks_source: whether its rp_filter is on.
    """

    index: int
    name: str
    mac: str
    up: bool
    alias: str = ""
    peer: str = ""
    heard: int = 0
    checks_source: bool = True


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route of the main table to one address. link: an index, 0 where it leads to several."""

    address: IPAddress
    link: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a container runtime remembers of an attachment (libcni's cache).

    alive: whether its network namespace is still there, as far as anyone here can tell.
    pod, addresses, ports: as in its Lease.
    """

    attachment: Attachment
    alive: bool
    pod: str = ""
    addresses: tuple[IPAddress, ...] = ()
    ports: tuple[PortMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """All that one audit looks at.

    leases: those that were there before the kernel was read, and after it, unchanged.
    passing: host names of attachments whose lease was there before or after, not both.
    links: every veth of the node.  routes, neighbours: those of podwire's links, the permanent
    ones, and all routes to leased addresses.
    ranges: where pods' addresses come from; empty where not known.
    remembered: by host name; None when nobody here can read it.
    mapped: who has hostPorts in force; None when not known.
    """

    leases: tuple[Lease, ...]
    links: tuple[Link, ...]
    routes: Collection[HostRoute] = ()
    neighbours: Collection[Neighbour] = ()
    passing: frozenset[str] = frozenset()
    ranges: tuple[IPNetwork, ...] = ()
    remembered: Mapping[str, Remembered] | None = None
    mapped: frozenset[Attachment] | None = None

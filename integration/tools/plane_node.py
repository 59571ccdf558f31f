"""Namespaces of nodes on the network of a test's control plane.

plane ── net0 (a bridge, 192.168.90.1) ── eth0 (192.168.90.N) ── node
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scratch
from control_plane import ControlPlane
from scratch import Netns


@contextmanager
def plane_node(plane: ControlPlane, number: int = 2) -> Iterator[Netns]:
    """A namespace that reaches the API server; number: the last part of its address."""
    node = scratch.make()
    device = f"node{number}"
    try:
        peer = ("type", "veth", "peer", "name", "eth0", "netns", node.name)
        plane.netns.run("ip", "link", "add", device, *peer)
        plane.netns.run("ip", "link", "set", device, "master", "net0", "up")
        node.run("ip", "address", "add", f"192.168.90.{number}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        yield node
    finally:
        scratch.remove(node)

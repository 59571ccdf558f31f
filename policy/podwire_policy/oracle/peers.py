"""Who a rule means, at the other end.

    NetworkPolicy          no peers, or an empty list      everyone, outside of the cluster too
                           podSelector                     pods of the policy's own namespace
                           namespaceSelector               all pods of the namespaces it selects
                           both, in one peer               pods that both select
                           ipBlock                         addresses, pods' too; without `except`
    ClusterNetworkPolicy   namespaces, pods                pods, by their namespace, by both
                           nodes                           the addresses of Nodes that it selects
                           networks                        addresses, pods' too

Pods of the node's network are the node: no selector finds them. Blocks of one family hold no
address of the other.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from podwire_core.family import Address, Network
from podwire_core.objects import ClusterPeer, IPBlock, PolicyPeer
from podwire_policy.oracle.question import End
from podwire_policy.oracle.world import World


def any_peer(world: World, namespace: str, peers: tuple[PolicyPeer, ...], end: End) -> bool:
    """Whether a NetworkPolicy's rule means this end. namespace: the policy's."""
    return not peers or any(_peer(world, namespace, peer, end) for peer in peers)


def any_cluster_peer(world: World, peers: tuple[ClusterPeer, ...], end: End) -> bool:
    """Whether a ClusterNetworkPolicy's rule means this end; it always names someone."""
    return any(_cluster_peer(world, peer, end) for peer in peers)


def _peer(world: World, namespace: str, peer: PolicyPeer, end: End) -> bool:
    if peer.ip_block is not None:
        return _in_block(peer.ip_block, end.address)
    if end.pod is None:
        return False
    its_own = end.pod.name.namespace
    if peer.namespace_selector is None:
        here = its_own == namespace
    else:
        here = peer.namespace_selector.matches(world.namespace_labels(its_own))
    return here and (peer.pod_selector is None or peer.pod_selector.matches(end.pod.labels))


def _cluster_peer(world: World, peer: ClusterPeer, end: End) -> bool:
    if peer.networks is not None:
        return any(_inside(end.address, cidr) for cidr in peer.networks)
    if peer.nodes is not None:
        return end.address in world.node_addresses(peer.nodes)
    if end.pod is None:
        return False
    labels = world.namespace_labels(end.pod.name.namespace)
    if peer.namespaces is not None:
        return peer.namespaces.matches(labels)
    return (
        peer.pods is not None
        and peer.pods.namespace_selector.matches(labels)
        and peer.pods.pod_selector.matches(end.pod.labels)
    )


def _in_block(block: IPBlock, address: str) -> bool:
    """An except limits its own block only, and one of the other family limits nothing."""
    return _inside(address, block.cidr) and not any(
        _inside(address, hole) for hole in block.except_ or ()
    )


def _inside(address: str, cidr: str) -> bool:
    """`in` is false between families, which is the API's answer too."""
    return _address(address) in _network(cidr)


@lru_cache(maxsize=65536)
def _address(text: str) -> Address:
    return ipaddress.ip_address(text)


@lru_cache(maxsize=65536)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text)

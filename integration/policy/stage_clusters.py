"""Random clusters whose pods are where a stage has their addresses.

A slot is a place on a node with an address of each family. A pod is put into one, and may have
both addresses, one or none; two pods in one slot are rivals for its addresses, and an empty slot
is an address that nobody owns, though someone may use it.
"""

from __future__ import annotations

from typing import Any

from cluster_policy_strategies import cluster_policies, described_nodes
from hypothesis import strategies as st
from msgspec.structs import replace
from packet_site import Site
from policy_model import NODES, OUTSIDE, node, pod
from policy_strategies import LABELS, NAMES, NAMESPACES, NUMBERS, PROTOCOLS, UIDS, policies

from podwire_core.objects import Attached, KubernetesObject, NetworkPolicy, ObjectName
from podwire_core.selectors import EVERYTHING

#: Of n1 and n2: their addresses are in the blocks of policy_strategies.
SLOTS = {
    **{f"n1-{host}": ("n1", (f"10.0.0.{host}", f"fd00::{host}")) for host in range(1, 6)},
    **{f"n2-{host}": ("n2", (f"10.0.1.{host}", f"fd00:1::{host}")) for host in range(1, 5)},
}
SITE = Site(NODES, SLOTS, OUTSIDE)
PODS = "abcdefgh"
_DECLARED = st.tuples(st.sampled_from(["web", "dns"]), PROTOCOLS, NUMBERS)
_PHASES = ["Running", "Running", "Running", "Running", "Pending", "Succeeded"]


@st.composite
def lives(draw: st.DrawFn) -> dict[str, str]:
    """A pod's uid and timestamps; one in six is being deleted."""
    uid = {"uid": draw(st.sampled_from(UIDS))}
    made = {**uid, "creationTimestamp": f"2030-01-0{draw(st.integers(1, 3))}T00:00:00Z"}
    ends = {"deletionTimestamp": "2030-02-01T00:00:00Z"}
    return made if draw(st.integers(0, 5)) else {**made, **ends}


@st.composite
def placed(draw: st.DrawFn, where: str, addresses: tuple[str, ...]) -> KubernetesObject:
    """A pod in a slot."""
    both: Any = [ip for ip in addresses if draw(st.integers(0, 5))]
    return pod(
        f"{draw(NAMES)}/{draw(st.sampled_from(PODS))}",
        *both,
        node=where,
        labels=draw(LABELS),
        ports=draw(st.lists(_DECLARED, max_size=2)),
        phase=draw(st.sampled_from(_PHASES)),
        host_network=not draw(st.integers(0, 11)),
        meta=draw(lives()),
    )


@st.composite
def of_all_pods(draw: st.DrawFn) -> KubernetesObject:
    """A policy that isolates a whole namespace."""
    made = draw(policies())
    assert isinstance(made, NetworkPolicy)
    return replace(made, spec=replace(made.spec, pod_selector=EVERYTHING))


@st.composite
def given_to(draw: st.DrawFn) -> KubernetesObject:
    """A slot's addresses, as its node's leases have them: some pod's, or no pod's."""
    _, addresses = draw(st.sampled_from(list(SLOTS.values())))
    name = ObjectName(draw(NAMES), draw(st.sampled_from(PODS)))
    holder = draw(st.sampled_from([name, name, None]))
    return Attached.of(f"eth0-{addresses[0]}", holder, addresses, draw(st.sampled_from(UIDS)))


@st.composite
def stage_clusters(draw: st.DrawFn) -> list[KubernetesObject]:
    """Both nodes, a pod in most slots, and policies that concern them.

    In some: podCIDRs, addresses that were given to somebody, cluster policies.
    """
    taken = draw(st.lists(st.sampled_from(list(SLOTS.values())), min_size=5, max_size=9))
    described, attached, cluster_wide = (draw(st.booleans()) for _ in range(3))
    return [
        *(draw(described_nodes()) if described else map(node, NODES)),
        *draw(st.lists(NAMESPACES, max_size=2)),
        *(draw(placed(*slot)) for slot in taken),
        *draw(st.lists(policies(), max_size=3)),
        *draw(st.lists(of_all_pods(), max_size=2)),
        *(draw(st.lists(cluster_policies(), min_size=1, max_size=3)) if cluster_wide else ()),
        *(draw(st.lists(given_to(), min_size=1, max_size=3)) if attached else ()),
    ]

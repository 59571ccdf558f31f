"""Where a Service's traffic may come from and go to: what of it is refused, and what is meant.

    sessionAffinity, sessionAffinityConfig            a client keeps its endpoint, 1 s to a day
    internalTrafficPolicy, externalTrafficPolicy      Cluster, or Local: our node's endpoints alone
    externalIPs, loadBalancerSourceRanges             addresses, CIDRs
    trafficDistribution                               a wish that becomes hints in slices

Rules and defaults are the API server's. Source: Kubernetes API reference, ServiceSpec.
"""

from __future__ import annotations

from podwire_core.family import canonical_address, canonical_network
from podwire_lab.control.ledger import RefusedError
from podwire_lab.control.manifests import Document
from podwire_lab.workloads import LabServiceSpec

SAME_ZONE = {"PreferClose", "PreferSameZone"}
SAME_NODE = {"PreferSameNode"}
#: Types that nodes answer for, at ports of their own or at a balancer's address.
OUTSIDE = {"NodePort", "LoadBalancer"}
AFFINITY_S, MAX_AFFINITY_S = 10_800, 86_400

_POLICIES = {None, "Cluster", "Local"}


def check(spec: LabServiceSpec) -> None:
    """Raises RefusedError for what an API server would not take."""
    _one_of("spec.internalTrafficPolicy", spec.internal_traffic_policy, _POLICIES)
    _one_of("spec.externalTrafficPolicy", spec.external_traffic_policy, _POLICIES)
    wishes = {None, "", *SAME_ZONE, *SAME_NODE}
    _one_of("spec.trafficDistribution", spec.traffic_distribution, wishes)
    if spec.external_traffic_policy and not reached_from_outside(spec):
        reason = "is for NodePort, LoadBalancer and externalIPs alone"
        raise RefusedError("spec.externalTrafficPolicy", reason)
    _check_affinity(spec)
    _check_addresses(spec)


def reached_from_outside(spec: LabServiceSpec) -> bool:
    """Whether anyone but pods and nodes is meant to come."""
    return spec.type in OUTSIDE or bool(spec.external_ips)


def defaults(spec: LabServiceSpec) -> Document:
    """What an author means who says nothing, and what he said."""
    found: Document = {
        "sessionAffinity": spec.session_affinity,
        "internalTrafficPolicy": spec.internal_traffic_policy or "Cluster",
    }
    if spec.session_affinity == "ClientIP":
        seconds = _timeout(spec)
        found["sessionAffinityConfig"] = {
            "clientIP": {"timeoutSeconds": AFFINITY_S if seconds is None else seconds}
        }
    if reached_from_outside(spec):
        found["externalTrafficPolicy"] = spec.external_traffic_policy or "Cluster"
    return found


def _one_of(field: str, value: str | None, allowed: set[str | None]) -> None:
    if value not in allowed:
        words = ", ".join(sorted(filter(None, allowed)))
        raise RefusedError(field, f"{value!r} is none of {words}")


def _timeout(spec: LabServiceSpec) -> int | None:
    config = spec.session_affinity_config
    return config.client_ip.timeout_seconds if config and config.client_ip else None


def _check_affinity(spec: LabServiceSpec) -> None:
    _one_of("spec.sessionAffinity", spec.session_affinity, {"None", "ClientIP"})
    seconds = _timeout(spec)
    if seconds is not None and not 0 < seconds <= MAX_AFFINITY_S:
        field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        raise RefusedError(field, f"{seconds} is outside 1-{MAX_AFFINITY_S}")


def _check_addresses(spec: LabServiceSpec) -> None:
    rows = [
        ("externalIPs", spec.external_ips, canonical_address),
        ("loadBalancerSourceRanges", spec.load_balancer_source_ranges, canonical_network),
    ]
    for name, values, canonical in rows:
        for index, value in enumerate(values or ()):
            try:
                canonical(value.strip())
            except ValueError as error:
                raise RefusedError(f"spec.{name}[{index}]", str(error)) from error

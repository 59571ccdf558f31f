"""The series that kube-proxy's nftables mode has, with its names, labels and buckets.

    what                       ip_family   because
    syncs, failures            both        one transaction holds both families, so a sync of it is
                                           one of each: as many, and as long, as kube-proxy's two
    programming, conntrack,    its own     a slice, a flow and a frontend have one family
    no local endpoints
    changes                    -           objects are counted before they have a family

Series with a family are there from the start, as zeros, so that rates have a beginning.

kube-proxy's series for iptables and IPVS are not here: what they count does not exist. Buckets
are spelled as Prometheus 3 keeps them ("1.0"; Go says "1").

Source: kube-proxy 1.36, pkg/proxy/metrics/metrics.go, and what it really shows.
"""

from __future__ import annotations

from itertools import chain

from podwire_core.family import FAMILIES
from podwire_node.metrics.registry import Histogram, Series

_FAMILY = "ip_family"
_SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
_PROGRAMMING_BUCKETS = tuple(
    chain((0, 0.25, 0.5), range(1, 60), range(60, 120, 5), range(120, 301, 30))
)


class Syncs:
    """From objects to the kernel."""

    def __init__(self, make: Series) -> None:
        def duration(name: str, text: str) -> Histogram:
            return make.histogram(name, text, _SYNC_BUCKETS, _FAMILY)

        prefix = "sync_proxy_rules"
        self.all = duration(f"{prefix}_duration_seconds", "Time of a sync of the proxy's tables")
        self.full = duration(
            "sync_full_proxy_rules_duration_seconds", "The same, of those that compared everything"
        )
        self.partial = duration(
            "sync_partial_proxy_rules_duration_seconds", "The same, of those of what changed"
        )
        self.queued_at = make.gauge(
            f"{prefix}_last_queued_timestamp_seconds", "When a sync was last asked for", _FAMILY
        )
        self.done_at = make.gauge(
            f"{prefix}_last_timestamp_seconds", "When a sync last succeeded", _FAMILY
        )
        self.failures = make.counter(
            f"{prefix}_nftables_sync_failures_total", "Syncs that the kernel refused", _FAMILY
        )
        self.cleanup_failures = make.counter(
            f"{prefix}_nftables_cleanup_failures_total",
            "Removals of what is used no more that the kernel refused",
            _FAMILY,
        )
        times = (self.all, self.full, self.partial, self.queued_at, self.done_at)
        for family in FAMILIES:
            for each in (*times, self.failures, self.cleanup_failures):
                each.labels(family)


class Changes:
    """Objects that changed: since the start, and those that the kernel has not got yet."""

    def __init__(self, make: Series, kind: str, objects: str) -> None:
        name = f"sync_proxy_rules_{kind}_changes"
        self.total = make.counter(f"{name}_total", f"{objects} that changed")
        self.pending = make.gauge(f"{name}_pending", f"{objects} that changed since the last sync")


class Outcome:
    """What became of it, by family."""

    def __init__(self, make: Series) -> None:
        self.programming = make.histogram(
            "network_programming_duration_seconds",
            "From a change of a Pod or Service until the kernel has it, by two machines' clocks",
            _PROGRAMMING_BUCKETS,
            _FAMILY,
        )
        self.no_local = make.gauge(
            "sync_proxy_rules_no_local_endpoints_total",
            "Frontends whose traffic policy is Local and that have no endpoint here",
            "traffic_policy",
            _FAMILY,
        )
        self.conntrack = make.histogram(
            "conntrack_reconciler_sync_duration_seconds",
            "Time of a search for stale conntrack entries",
            _SYNC_BUCKETS,
            _FAMILY,
        )
        self.conntrack_deleted = make.counter(
            "conntrack_reconciler_deleted_entries_total", "Stale conntrack entries deleted", _FAMILY
        )
        for family in FAMILIES:
            for each in (self.programming, self.conntrack, self.conntrack_deleted):
                each.labels(family)
            for policy in ("internal", "external"):
                self.no_local.labels(policy, family)


class Probes:
    """Who asked for our health, and heard what."""

    def __init__(self, make: Series) -> None:
        self.healthz = make.counter("proxy_healthz_total", "Answers at /healthz", "code")
        self.livez = make.counter("proxy_livez_total", "Answers at /livez", "code")

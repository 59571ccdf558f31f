"""The series that only podwire has.

    podwire_transactions_total{table}     committed to the kernel
    podwire_repairs_total{table}          of these, to undo what someone else changed
    podwire_failures_total{table}         refused by the kernel
    podwire_elements{table}               nftables objects in force
    podwire_stale_udp_deleted_total       UDP conntrack entries to endpoints that are gone
    podwire_proxy_backend{backend}        1 for what answers at sockets: nftables or ebpf
    podwire_proxy_backend_fallback{reason}       1 while it is nftables, and ebpf is asked for
    podwire_proxy_sockets_attached        1 while the last proof has found the programs in effect
    podwire_proxy_sockets_frontends       frontends that are answered at sockets
    podwire_proxy_sockets_left            frontends that are left to nftables
    podwire_proxy_stale_sockets_destroyed_total  sockets that were ended with their endpoint
    podwire_cni_operations_total{command,code}   CNI calls answered; code 0 is success
    podwire_cni_duration_seconds{command}        from a call's arrival until its answer
    podwire_cni_audit_repairs_total{kind}        what the audit of leases put right
    podwire_policy_drops_total{direction,reason} packets that policies dropped, of those that are
                                                 logged (10 a second a chain); reason: isolated,
                                                 denied, unknown, borrowed, cut
    podwire_policy_drops_unseen_total     of these, without a record: too many at once
    podwire_problems                      what stands in the status file under problems
    podwire_build_info{version}           1

table: proxy, policy, guard, masquerade or host-ports, as in the status file; podwire-proxy is the
kernel's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from podwire_node.metrics.registry import Counter, Series

_CNI_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5, 10)


class Own:
    """What the agent counts itself is taken over as it stands (Totals)."""

    def __init__(self, make: Series) -> None:
        self.transactions = Totals(
            make.counter("transactions_total", "Transactions committed", "table")
        )
        self.repairs = Totals(
            make.counter("repairs_total", "Transactions that undid another's change", "table")
        )
        self.failures = Totals(
            make.counter("failures_total", "Transactions that the kernel refused", "table")
        )
        self.elements = make.gauge("elements", "nftables objects in force", "table")
        self.stale_udp_deleted = make.counter(
            "stale_udp_deleted_total", "UDP conntrack entries whose endpoint is gone, deleted"
        )
        self.proxy_backend = make.gauge("proxy_backend", "1: it answers at sockets", "backend")
        self.proxy_fallback = make.gauge(
            "proxy_backend_fallback", "1: why nftables answers in place of ebpf", "reason"
        )
        self.sockets_attached = make.gauge(
            "proxy_sockets_attached", "1 while programs are in effect at sockets"
        )
        self.sockets_frontends = make.gauge(
            "proxy_sockets_frontends", "Frontends that are answered at sockets"
        )
        self.sockets_left = make.gauge("proxy_sockets_left", "Frontends that are left to nftables")
        self.stale_sockets_destroyed = make.counter(
            "proxy_stale_sockets_destroyed_total", "Sockets that were ended with their endpoint"
        )
        self.cni_operations = make.counter(
            "cni_operations_total", "CNI calls answered; code 0 is success", "command", "code"
        )
        self.cni_duration = make.histogram(
            "cni_duration_seconds", "From a CNI call until its answer", _CNI_SECONDS, "command"
        )
        self.cni_audit_repairs = make.counter(
            "cni_audit_repairs_total", "Differences of leases, links and routes repaired", "kind"
        )
        self.policy_drops = make.counter(
            "policy_drops_total", "Logged packets that policies dropped", "direction", "reason"
        )
        self.policy_drops_unseen = make.counter(
            "policy_drops_unseen_total", "Logged packets that policies dropped, without a record"
        )
        self.problems = make.gauge("problems", "Things that are wrong now")
        build = make.gauge("build_info", "1, with the version that runs", "version")
        build.labels(metadata.version("podwire")).set(1)


class Totals:
    """A counter by table of what someone else counts."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._seen: dict[str, int] = {}

    def stand_at(self, totals: Mapping[str, int]) -> None:
        """What they stand at now. A table that is not named stays as it was."""
        for table, total in totals.items():
            if total > self._seen.get(table, -1):
                self._counter.labels(table).inc(total - self._seen.get(table, 0))
                self._seen[table] = total

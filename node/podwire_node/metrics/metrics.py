"""What the agent's loop tells, a line a fact; the web thread asks for the text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from podwire_core.family import FAMILIES, Family
from podwire_node.metrics.kube_proxy import Changes, Outcome, Probes, Syncs
from podwire_node.metrics.own import Own
from podwire_node.metrics.registry import Registry

#: Longer than RFC 3339 with nanoseconds and an offset; what is longer is none.
_MAX_TIME = 40
_MAX_REASON = 200  # characters of a sentence, as a label


class Metrics:
    """One agent's metrics. Made when the process starts: programming is measured from then on.

    Any thread may call any of this. clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._began = clock()
        self._registry = Registry()
        make = self._registry.series("kubeproxy")
        self._syncs, self._outcome, self._probes = Syncs(make), Outcome(make), Probes(make)
        self._services = Changes(make, "service", "Services")
        self._endpoints = Changes(make, "endpoint", "EndpointSlices")
        self._own = Own(self._registry.series("podwire"))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format (CONTENT_TYPE)."""
        return self._registry.text

    # ------------------------------------------------------------------ changes come in

    def service_changes(self, number: int) -> None:
        """Services that changed, and are not in the kernel yet."""
        self._services.total.inc(number)
        self._services.pending.inc(number)

    def endpoint_changes(self, number: int) -> None:
        """EndpointSlices that changed, and are not in the kernel yet."""
        self._endpoints.total.inc(number)
        self._endpoints.pending.inc(number)

    def queued(self) -> None:
        """A sync is asked for."""
        now = self._clock()
        for family in FAMILIES:
            self._syncs.queued_at.labels(family).set(now)

    # ------------------------------------------------------------- and go to the kernel

    def synced(self, seconds: float, *, full: bool) -> None:
        """All changes are in the kernel. full: everything was compared, not what changed."""
        now, series = self._clock(), self._syncs
        for family in FAMILIES:
            series.all.labels(family).observe(seconds)
            (series.full if full else series.partial).labels(family).observe(seconds)
            series.done_at.labels(family).set(now)
        self._services.pending.set(0)
        self._endpoints.pending.set(0)

    def sync_failed(self) -> None:
        """The kernel refused; changes go on waiting."""
        for family in FAMILIES:
            self._syncs.failures.labels(family).inc()

    def cleanup_failed(self) -> None:
        """The kernel refused to remove what is used no more."""
        for family in FAMILIES:
            self._syncs.cleanup_failures.labels(family).inc()

    def programmed(self, family: Family, trigger_times: Iterable[str]) -> None:
        """Changes of EndpointSlices of this family are in the kernel now.

        trigger_times: their annotations endpoints.kubernetes.io/last-change-trigger-time, RFC 3339.
        Those of before we began say nothing of us; what is no such time is passed over.
        """
        now = self._clock()
        for text in trigger_times:
            when = _seconds(text)
            if when is not None and when >= self._began:
                # Two machines' clocks: what seems to come from the future took no time.
                self._outcome.programming.labels(family).observe(max(0.0, now - when))

    def no_local(self, family: Family, *, internal: int, external: int) -> None:
        """Frontends with a traffic policy Local and no endpoint here, as they stand."""
        self._outcome.no_local.labels("internal", family).set(internal)
        self._outcome.no_local.labels("external", family).set(external)

    def conntrack(self, family: Family, seconds: float, deleted: int) -> None:
        """Stale UDP entries of a family were looked for, and so many deleted."""
        self._outcome.conntrack.labels(family).observe(seconds)
        self._outcome.conntrack_deleted.labels(family).inc(deleted)
        self._own.stale_udp_deleted.inc(deleted)

    def cni(self, command: str, code: int, seconds: float) -> None:
        """A CNI call was answered; code: the specification's, 0 for success."""
        self._own.cni_operations.labels(command, str(code)).inc()
        self._own.cni_duration.labels(command).observe(seconds)

    def cni_repaired(self, kind: str) -> None:
        """The audit of leases repaired something (podwire_node.cni.audit.findings)."""
        self._own.cni_audit_repairs.labels(kind).inc()

    def policy_dropped(self, direction: str, reason: str, number: int) -> None:
        """Records of packets that policies dropped (podwire_node.observe)."""
        self._own.policy_drops.labels(direction, reason).inc(number)

    def policy_drops_unseen(self, number: int) -> None:
        """Packets that were logged and have no record: too many came at once."""
        self._own.policy_drops_unseen.inc(number)

    # ------------------------------------------------------------------- how things stand

    def tables(
        self,
        transactions: Mapping[str, int],
        repairs: Mapping[str, int],
        failures: Mapping[str, int],
    ) -> None:
        """What was counted since the start by table, as the status file has it."""
        self._own.transactions.stand_at(transactions)
        self._own.repairs.stand_at(repairs)
        self._own.failures.stand_at(failures)

    def elements(self, table: str, number: int) -> None:
        """How many nftables objects of a table are in force."""
        self._own.elements.labels(table).set(number)

    def backend(self, name: str, why: str) -> None:
        """What answers at sockets: nftables or ebpf; why it is nftables where ebpf is asked for."""
        for each in ("nftables", "ebpf"):
            self._own.proxy_backend.labels(each).set(each == name)
        self._own.proxy_fallback.clear()
        if why:
            self._own.proxy_fallback.labels(why[:_MAX_REASON]).set(1)

    def sockets(self, frontends: int, left: int) -> None:
        """How many frontends are answered at sockets, and how many are left to nftables."""
        self._own.sockets_frontends.set(frontends)
        self._own.sockets_left.set(left)

    def sockets_attached(self, *, attached: bool) -> None:
        """What the last proof has found."""
        self._own.sockets_attached.set(attached)

    def stale_sockets(self, number: int) -> None:
        """Sockets whose endpoint went were ended."""
        self._own.stale_sockets_destroyed.inc(number)

    def problems(self, number: int) -> None:
        """How many things are wrong now."""
        self._own.problems.set(number)

    # ---------------------------------------------------------------- what others ask us

    def healthz(self, code: int) -> None:
        """An answer at /healthz."""
        self._probes.healthz.labels(str(int(code))).inc()

    def livez(self, code: int) -> None:
        """An answer at /livez."""
        self._probes.livez.labels(str(int(code))).inc()


def _seconds(text: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None where it is none."""
    if len(text) > _MAX_TIME:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo else None

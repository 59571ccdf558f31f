"""Prometheus' text: kube-proxy's names, labels and buckets, and numbers that are told once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from podwire_core.family import FAMILIES, Family
from podwire_node.metrics import Metrics

V4, V6 = Family.IPV4, Family.IPV6

#: What kube-proxy's nftables mode shows: type and labels by name.
KUBE_PROXY = {
    "sync_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "sync_full_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "sync_partial_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "sync_proxy_rules_last_timestamp_seconds": ("gauge", {"ip_family"}),
    "sync_proxy_rules_last_queued_timestamp_seconds": ("gauge", {"ip_family"}),
    "network_programming_duration_seconds": ("histogram", {"ip_family"}),
    "sync_proxy_rules_endpoint_changes_pending": ("gauge", set()),
    "sync_proxy_rules_endpoint_changes_total": ("counter", set()),
    "sync_proxy_rules_service_changes_pending": ("gauge", set()),
    "sync_proxy_rules_service_changes_total": ("counter", set()),
    "sync_proxy_rules_no_local_endpoints_total": ("gauge", {"traffic_policy", "ip_family"}),
    "sync_proxy_rules_nftables_sync_failures_total": ("counter", {"ip_family"}),
    "sync_proxy_rules_nftables_cleanup_failures_total": ("counter", {"ip_family"}),
    "proxy_healthz_total": ("counter", {"code"}),
    "proxy_livez_total": ("counter", {"code"}),
    "conntrack_reconciler_sync_duration_seconds": ("histogram", {"ip_family"}),
    "conntrack_reconciler_deleted_entries_total": ("counter", {"ip_family"}),
}
OWN = {
    "podwire_transactions_total",
    "podwire_repairs_total",
    "podwire_failures_total",
    "podwire_elements",
    "podwire_stale_udp_deleted_total",
    "podwire_proxy_backend",
    "podwire_proxy_backend_fallback",
    "podwire_proxy_sockets_attached",
    "podwire_proxy_sockets_frontends",
    "podwire_proxy_sockets_left",
    "podwire_proxy_stale_sockets_destroyed_total",
    "podwire_cni_operations_total",
    "podwire_cni_duration_seconds",
    "podwire_cni_audit_repairs_total",
    "podwire_policy_drops_total",
    "podwire_policy_drops_unseen_total",
    "podwire_problems",
    "podwire_build_info",
}
SYNC_BUCKETS = [0.001 * 2**power for power in range(15)]


class Clock:
    """Stands at 1,000,000 s after 1970 until it is moved."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(clock)


def families(metrics: Metrics) -> Iterator[tuple[str, Metric]]:
    """The text's families under the names that it has them (the parser cuts off `_total`)."""
    for each in text_string_to_metric_families(metrics.text().decode()):
        yield each.name + ("_total" if each.type == "counter" else ""), each


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Values by name and labels' values, in the labels' order."""
    return {
        (each.name, *(each.labels[label] for label in sorted(each.labels))): each.value
        for _, family in families(metrics)
        for each in family.samples
    }


def told_everything(metrics: Metrics) -> None:
    metrics.healthz(200)
    metrics.livez(200)
    metrics.tables({"proxy": 1}, {"proxy": 1}, {"proxy": 1})
    metrics.elements("proxy", 1)


def buckets(metrics: Metrics, name: str) -> list[float]:
    found = dict(families(metrics))[f"kubeproxy_{name}"]
    return [
        float(each.labels["le"])
        for each in found.samples
        if each.name.endswith("_bucket") and each.labels["ip_family"] == "IPv4"
    ][:-1]  # and +Inf


def test_names_types_and_labels_are_kube_proxys(metrics: Metrics) -> None:
    told_everything(metrics)
    found = {
        name.removeprefix("kubeproxy_"): (
            family.type,
            {label for each in family.samples for label in each.labels} - {"le"},
        )
        for name, family in families(metrics)
        if name.startswith("kubeproxy_")
    }
    assert found == KUBE_PROXY


def test_every_other_name_is_podwires_or_the_process(metrics: Metrics) -> None:
    told_everything(metrics)
    others = {name for name, _ in families(metrics) if not name.startswith("kubeproxy_")}
    assert {name for name in others if name.startswith("podwire_")} == OWN
    rest = {name for name in others - OWN if not name.startswith("process_")}
    assert rest == {"python_info"}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} < others


@pytest.mark.parametrize(
    "name",
    [
        "sync_proxy_rules_duration_seconds",
        "sync_full_proxy_rules_duration_seconds",
        "sync_partial_proxy_rules_duration_seconds",
        "conntrack_reconciler_sync_duration_seconds",
    ],
)
def test_buckets_of_syncs(metrics: Metrics, name: str) -> None:
    assert buckets(metrics, name) == pytest.approx(SYNC_BUCKETS)


def test_buckets_of_programming(metrics: Metrics) -> None:
    found = buckets(metrics, "network_programming_duration_seconds")
    assert found[:5] == [0, 0.25, 0.5, 1, 2]
    assert found[61:63] == [59, 60]
    assert found[73:] == [115, 120, 150, 180, 210, 240, 270, 300]


def test_a_sync_is_one_of_each_family(metrics: Metrics, clock: Clock) -> None:
    metrics.queued()
    clock.now += 1
    metrics.synced(0.003, full=True)
    metrics.synced(0.001, full=False)
    found = samples(metrics)
    for family in FAMILIES:
        assert found["kubeproxy_sync_proxy_rules_duration_seconds_count", family] == 2
        assert found["kubeproxy_sync_full_proxy_rules_duration_seconds_sum", family] == 0.003
        assert found["kubeproxy_sync_partial_proxy_rules_duration_seconds_sum", family] == 0.001
        assert found["kubeproxy_sync_proxy_rules_last_timestamp_seconds", family] == 1_000_001
        queued = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds"
        assert found[queued, family] == 1_000_000


def test_changes_wait_until_a_sync_and_not_until_a_failure(metrics: Metrics) -> None:
    metrics.service_changes(2)
    metrics.endpoint_changes(3)
    metrics.sync_failed()
    found = samples(metrics)
    assert found[("kubeproxy_sync_proxy_rules_service_changes_pending",)] == 2
    assert found[("kubeproxy_sync_proxy_rules_endpoint_changes_pending",)] == 3
    assert found["kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "IPv6"] == 1
    metrics.synced(0.001, full=True)
    found = samples(metrics)
    assert found[("kubeproxy_sync_proxy_rules_service_changes_pending",)] == 0
    assert found[("kubeproxy_sync_proxy_rules_endpoint_changes_pending",)] == 0
    assert found[("kubeproxy_sync_proxy_rules_service_changes_total",)] == 2
    assert found[("kubeproxy_sync_proxy_rules_endpoint_changes_total",)] == 3


def test_programming_is_measured_from_the_trigger(metrics: Metrics, clock: Clock) -> None:
    clock.now += 10  # 1970-01-12T13:46:50Z
    metrics.programmed(V6, ["1970-01-12T13:46:42.123456789Z", "1970-01-12T14:46:49+01:00"])
    found = samples(metrics)
    assert found["kubeproxy_network_programming_duration_seconds_count", "IPv6"] == 2
    total = found["kubeproxy_network_programming_duration_seconds_sum", "IPv6"]
    assert total == pytest.approx(7.876544 + 1, abs=1e-5)
    assert found["kubeproxy_network_programming_duration_seconds_count", "IPv4"] == 0


@pytest.mark.parametrize(
    "text",
    ["1970-01-12T13:46:39Z", "1970-01-12T13:46:42", "yesterday", "", "9" * 10**6],
    ids=["before we began", "no offset", "no time", "nothing", "endless"],
)
def test_triggers_that_say_nothing_of_us_are_passed_over(
    metrics: Metrics, clock: Clock, text: str
) -> None:
    clock.now += 10
    metrics.programmed(V4, [text])
    assert samples(metrics)["kubeproxy_network_programming_duration_seconds_count", "IPv4"] == 0


def test_a_trigger_from_the_future_took_no_time(metrics: Metrics) -> None:
    metrics.programmed(V4, ["1970-01-13T00:00:00Z"])
    found = samples(metrics)
    assert found["kubeproxy_network_programming_duration_seconds_count", "IPv4"] == 1
    assert found["kubeproxy_network_programming_duration_seconds_sum", "IPv4"] == 0


def test_conntrack_and_local_policies_are_by_family(metrics: Metrics) -> None:
    metrics.conntrack(V4, 0.01, 5)
    metrics.no_local(V4, internal=1, external=2)
    found = samples(metrics)
    assert found["kubeproxy_conntrack_reconciler_deleted_entries_total", "IPv4"] == 5
    assert found["kubeproxy_conntrack_reconciler_deleted_entries_total", "IPv6"] == 0
    assert found[("podwire_stale_udp_deleted_total",)] == 5
    no_local = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert found[no_local, "IPv4", "internal"] == 1
    assert found[no_local, "IPv4", "external"] == 2
    assert found[no_local, "IPv6", "external"] == 0


def test_totals_are_taken_over_as_they_stand(metrics: Metrics) -> None:
    metrics.tables({"proxy": 4}, {"proxy": 0}, {})
    metrics.tables({"proxy": 6, "policy": 1}, {"proxy": 1}, {})
    found = samples(metrics)
    assert found["podwire_transactions_total", "proxy"] == 6
    assert found["podwire_transactions_total", "policy"] == 1
    assert found["podwire_repairs_total", "proxy"] == 1


def test_cni_calls_are_counted_by_command_and_code(metrics: Metrics) -> None:
    metrics.cni("ADD", 0, 0.003)
    metrics.cni("ADD", 0, 0.3)
    metrics.cni("ADD", 100, 0.001)
    found = samples(metrics)
    assert found["podwire_cni_operations_total", "0", "ADD"] == 2
    assert found["podwire_cni_operations_total", "100", "ADD"] == 1
    assert found["podwire_cni_duration_seconds_bucket", "ADD", "0.004"] == 2
    assert found["podwire_cni_duration_seconds_count", "ADD"] == 3


def test_nothing_is_registered_for_the_whole_process() -> None:
    first, second = Metrics(), Metrics()
    first.problems(3)
    assert samples(first)[("podwire_problems",)] == 3
    assert samples(second)[("podwire_problems",)] == 0

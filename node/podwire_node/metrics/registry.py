"""The door to Prometheus' client library: a registry of our own, and its text.

Nothing is registered for the whole process.

The library adds to each counter and histogram when it was made (`…_created`). kube-proxy has no
such series: they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Counter", "Gauge", "Histogram", "Registry", "Series"]


class Registry:
    """All series of one agent; from the start those of the process: memory, CPU, descriptors."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def series(self, prefix: str) -> Series:
        """Makes series whose names begin with this and an underscore."""
        return Series(self._registry, prefix)

    @property
    def text(self) -> bytes:
        """All series in Prometheus' text format 0.0.4 (CONTENT_TYPE)."""
        return generate_latest(_WithoutCreated(self._registry))


class Series:
    """Makes series of one prefix: a name, a sentence, and the names of labels."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._registry, self._prefix = registry, prefix

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """What only grows."""
        return Counter(name, text, labels, self._prefix, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """What stands at a number."""
        return Gauge(name, text, labels, self._prefix, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        """How often which number was seen. buckets: upper bounds, but for the last, infinity."""
        where = self._registry
        return Histogram(name, text, labels, self._prefix, registry=where, buckets=buckets)


class _WithoutCreated(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            created = f"{metric.name}_created"
            metric.samples = [each for each in metric.samples if each.name != created]
            yield metric

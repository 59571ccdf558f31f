"""Bandwidth: what runtimeConfig.bandwidth asks for.

Ingress is what the pod receives, egress what it sends. Rates are bits per second and bursts are
bits, as in CONVENTIONS.md of the CNI specification, "bandwidth".
"""

from dataclasses import dataclass

from podwire_cni.errors import BadConfig
from podwire_cni.fields import JsonObject, integer, spelled

_KEY = "runtimeConfig.bandwidth"
_MOST = 2**63 - 1  # Kubernetes' quantities are signed


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Rates in bits per second, bursts in bits; a rate of 0 is unlimited, a burst of 0 chosen."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


def parse_bandwidth(raw: JsonObject) -> Bandwidth | None:
    """Read runtimeConfig.bandwidth; None when it limits nothing. Raises BadConfig."""
    raw = spelled(raw, "ingressRate", "ingressBurst", "egressRate", "egressBurst")
    limits = Bandwidth(*_direction(raw, "ingress"), *_direction(raw, "egress"))
    return limits if limits.ingress_rate or limits.egress_rate else None


def _direction(raw: JsonObject, name: str) -> tuple[int, int]:
    where = f"{_KEY}."
    rate = integer(raw, f"{name}Rate", 0, _MOST, where) or 0
    burst = integer(raw, f"{name}Burst", 0, _MOST, where) or 0
    if burst and not rate:
        raise BadConfig(f"{where}{name}Burst: {burst} is given, and no {name}Rate")
    return rate, burst

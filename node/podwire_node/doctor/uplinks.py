"""Programs for traffic from outside, at the links of this network namespace."""

from __future__ import annotations

from podwire_ebpf import uplink
from podwire_node.doctor.finding import Finding, Patient, ok, unused, warn
from podwire_node.sockets.earlier import uplinks_in_use


def uplinks(patient: Patient) -> Finding:
    """Where filters of ours are: both sides of a link, and only while someone fills their maps."""
    links = uplinks_in_use()
    if not links:
        return unused("no link here has programs of ours (ebpfExternal)")
    if not patient.uses_sockets:
        return warn(
            f"an earlier agent's are at {', '.join(links)}, which nobody keeps up to date",
            "NodePorts go where endpoints were that day: podwire cleanup --components proxy",
        )
    halves = [each for each in links if not uplink.attached(each).whole]
    if halves:
        return warn(
            f"only one of two sides of {', '.join(halves)}",
            "the agent puts the other one back within a minute; its log says where it cannot",
        )
    return ok(f"at {', '.join(links)}, both sides")

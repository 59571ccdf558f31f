"""A packet as the tracer knows it, and what nft's fields are of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from podwire_core.family import Family


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection (or with state "established", a later one).

    from_node: a process of the node itself sends it. iif: the interface it came in by. The
    original destination is what the client wrote, kept while DNAT changes daddr and dport.
    mark: its connection's ct mark. borrowed: the route back to its sender is not by `iif`.
    packet_mark: its own.
    icmp_type: of protocols `icmp` and `ipv6-icmp`, a number.
    """

    family: Family
    saddr: str
    daddr: str
    protocol: str
    dport: int
    sport: int = 40000
    from_node: bool = False
    state: str = "new"
    original_daddr: str = ""
    original_dport: int = 0
    dnat: bool = False
    masqueraded: bool = False
    iif: str = ""
    priority: str = ""
    mark: int = 0
    borrowed: bool = False
    icmp_type: str = ""
    packet_mark: int = 0

    def translated(self, daddr: str, dport: int) -> Packet:
        """The packet after DNAT."""
        return replace(
            self,
            daddr=daddr,
            dport=dport,
            dnat=True,
            original_daddr=self.daddr,
            original_dport=self.dport,
        )


#: What a field of a packet is, by its nft spelling with the family's word as "ip".
FIELDS: dict[str, Callable[[Packet], str]] = {
    "ip saddr": lambda packet: packet.saddr,
    "ip daddr": lambda packet: packet.daddr,
    "meta l4proto": lambda packet: packet.protocol,
    "th dport": lambda packet: str(packet.dport),
    "tcp dport": lambda packet: str(packet.dport) if packet.protocol == "tcp" else "",
    "udp dport": lambda packet: str(packet.dport) if packet.protocol == "udp" else "",
    "sctp dport": lambda packet: str(packet.dport) if packet.protocol == "sctp" else "",
    "icmpv6 type": lambda packet: packet.icmp_type if packet.protocol == "ipv6-icmp" else "",
    "th sport": lambda packet: str(packet.sport),
    "ct state": lambda packet: packet.state,
    "meta iifname": lambda packet: packet.iif,
    "meta priority": lambda packet: packet.priority,
    "ct mark": lambda packet: str(packet.mark),
    "meta mark": lambda packet: str(packet.packet_mark),
    "fib saddr . iif oif": lambda packet: "0" if packet.borrowed else "1",
    "ct status": lambda packet: "dnat" if packet.dnat else "",
    "ct original ip saddr": lambda packet: packet.saddr,  # masquerading keeps it here
    "ct original ip daddr": lambda packet: packet.original_daddr or packet.daddr,
    "ct original proto-dst": lambda packet: str(packet.original_dport or packet.dport),
}

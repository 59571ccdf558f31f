"""Which connection a packet is of, by the kernel's connection tracking; in the node's namespace."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from podwire_core.conntrack import Conntrack
from podwire_core.conntrack.entry import unpacked
from podwire_core.errors import ConntrackError
from podwire_node.observe.packet import Packet, Ports


def as_begun(packet: Packet) -> Packet | None:
    """The packet that began the connection, as it came to who answers: before SNAT, after DNAT.

    None where nobody knows any more, where its source is translated on its way out (a hook sees it
    before, connection tracking knows it as after), and of a protocol without ports.
    """
    if not isinstance(packet.l4, Ports):
        return None
    there, back = packet.l4, (packet.destination, packet.l4.destination)
    try:
        with closing(Conntrack()) as conntrack:
            # By the answer to it: what was dialled is translated by now, and its answer knows that.
            entry = conntrack.find(
                packet.protocol, *back, packet.source, there.source
            ) or conntrack.find(packet.protocol, packet.source, there.source, *back)
    except ConntrackError:
        return None
    if entry is None:
        return None
    ports = Ports(entry.source_port, entry.reply_port, there.flags)
    ends = unpacked(entry.source), unpacked(entry.reply_source)
    return replace(packet, source=ends[0], destination=ends[1], l4=ports)

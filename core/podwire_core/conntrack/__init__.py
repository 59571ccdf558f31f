"""What the kernel's connection tracking remembers, marking it, and making it forget (ctnetlink).

entries() ──► Entry, Entry, … ──► delete(), mark()
one dump      read as they come,   by tuple, zone and number,
              none is kept         a hundred in a datagram
"""

from podwire_core.conntrack.entry import Bits, Entry
from podwire_core.conntrack.table import UDP, Conntrack

__all__ = ["UDP", "Bits", "Conntrack", "Entry"]

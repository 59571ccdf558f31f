"""The second codec: the same desired state as rows of the maps that socket programs read.

    Frontend, Served ─┬─► elements      packets: nftables, complete
                      └─► Wish ─► Sockets.take() ─► Change     sockets: what they answer alike

A frontend is in the maps only if each socket of this node gets by it what nftables would give it.
All else is left to nftables, with a reason (wishes.py).

wishes    one frontend: the rows it asks for, or why none    lists     endpoints of a list, as rows
sockets   all of them: what changed, what is in a kernel     counters  numbers of lists
"""

from podwire_proxy.sockets.lists import Room
from podwire_proxy.sockets.sockets import Sockets
from podwire_proxy.sockets.wishes import Reach

__all__ = ["Reach", "Room", "Sockets"]

"""The node's own addresses, packed as conntrack's entries have them (linux/if_addr.h)."""

from __future__ import annotations

from podwire_core.netlink import ROUTE, Conversation, Message, attributes

_GETADDR = 22  # RTM_GETADDR
_HEAD = 8  # bytes of struct ifaddrmsg, which begins with the family: 0 is all
_ADDRESS, _LOCAL = 1, 2  # IFA_*; on a point-to-point link the first one is the other end's


class Addresses:
    """Those of the network namespace it was made in; for one thread. Raises OSError."""

    def __init__(self) -> None:
        self._conversation = Conversation(ROUTE)

    def close(self) -> None:
        """Give back the socket."""
        self._conversation.close()

    def read(self) -> frozenset[bytes]:
        """All that are there now."""
        answers = self._conversation.dump(Message(_GETADDR, bytes(_HEAD)))
        known = (attributes(body, _HEAD) for body in answers)
        found = (each.get(_LOCAL) or each.get(_ADDRESS, b"") for each in known)
        return frozenset(each for each in found if len(each) in {4, 16})  # no MCTP, no Phonet

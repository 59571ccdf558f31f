"""The node's link to the world, whose MTU the pods' links have.

Source: linux/rtnetlink.h (struct rtmsg, RTA_*), linux/if_link.h (IFLA_MTU).
"""

import errno
import sys

from podwire_cni import messages
from podwire_cni.family import FAMILIES
from podwire_cni.netlink import refusal
from podwire_cni.rtnetlink import HEADER_BYTES, Message, Refused, Socket, attributes

DEFAULT_MTU = 1500

_RTMSG_BYTES, _IFINFOMSG_BYTES = 12, 16
_RTA_OIF, _RTA_PRIORITY, _IFLA_MTU = 4, 6, 4
# No such table, no such family: nobody has made a route.
_NO_ROUTES = {errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


def default_mtu() -> int:
    """The MTU, in bytes, of the link that the default route leaves by, IPv4's first, else 1500."""
    with refusal("host: read default route"), Socket() as node:
        for family in FAMILIES:
            routes = _default_routes(node, messages.get_default_routes(family))
            if routes:
                (link,) = node.ask(messages.get_link("host: read uplink", index=routes[0][1]))
                return _numbers(link, _IFINFOMSG_BYTES).get(_IFLA_MTU, DEFAULT_MTU)
    return DEFAULT_MTU


def _default_routes(node: Socket, request: Message) -> list[tuple[int, int]]:
    """Metric and link's index of each default route with one next hop, the best first."""
    try:
        answers = node.ask(request)
    except Refused as error:
        if error.number not in _NO_ROUTES:
            raise
        return []
    # The second byte of struct rtmsg is the prefix' length. A node has a route for each pod.
    found = [_numbers(each, _RTMSG_BYTES) for each in answers if each[HEADER_BYTES + 1] == 0]
    ways = [(each.get(_RTA_PRIORITY, 0), each[_RTA_OIF]) for each in found if _RTA_OIF in each]
    return sorted(ways)


def _numbers(message: bytes, body: int) -> dict[int, int]:
    """The attributes behind a struct of so many bytes, as far as they are numbers of 32 bits."""
    found = attributes(message, HEADER_BYTES + body)
    return {kind: int.from_bytes(value, sys.byteorder) for kind, value in found if len(value) == 4}

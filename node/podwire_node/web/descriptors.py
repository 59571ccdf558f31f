"""Room for file descriptors: a health check port is one, a connection another.

Many systems allow a process 1,024 unless it asks for more, up to a limit that is usually far
higher. Without it, a thousand health check ports would leave none for netlink.
"""

from __future__ import annotations

import resource

from podwire_node.web.checks import MAX_PORTS
from podwire_node.web.room import IN_ALL

#: For everything else that the agent opens.
_OTHERS = 400
_ENOUGH = MAX_PORTS + IN_ALL + _OTHERS


def make_room() -> int:
    """Ask for enough descriptors; answers how many health check ports there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_PORTS
    if soft < _ENOUGH:
        soft = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(0, min(MAX_PORTS, soft - IN_ALL - _OTHERS))

"""What was led to an endpoint that is gone, and would be for ever.

    reconciler   UDP conversations that nftables leads: connection tracking forgets them
    sockets      sockets that our programs led: the kernel ends them
    follower     the thread of each   backlog  whether anything can be stale
    in_vain      rows that no socket is found for

A conversation's way is decided once, and remembered for as long as someone sends: a client that
keeps one socket would send to a pod that ended long ago.
"""

from podwire_node.stale.reconciler import Run, StaleConnections

__all__ = ["Run", "StaleConnections"]

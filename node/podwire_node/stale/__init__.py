"""UDP conversations with endpoints that are gone, which the kernel would keep up for ever.

Connection tracking decides once where a conversation goes, and remembers it for as long as someone
sends: a client that keeps one socket would send to a pod that ended long ago.
"""

from podwire_node.stale.reconciler import Run, StaleConnections

__all__ = ["Run", "StaleConnections"]

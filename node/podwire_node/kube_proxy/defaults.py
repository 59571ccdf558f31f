"""What kube-proxy does unless it is told otherwise, and so `podwire proxy`.

Source: pkg/proxy/apis/config/v1alpha1/defaults.go of Kubernetes 1.36. Where NodePorts answer is
the default of its mode nftables, the only one of which podwire is the like.
"""

from __future__ import annotations

import socket

from podwire_node.settings.agent_config import CLUSTER
from podwire_node.settings.config import Source


def kube_proxy_defaults() -> Source:
    """Defaults in our settings' words; the node is called what the host is."""
    return Source(
        "kube-proxy's default",
        {
            "node": socket.gethostname().strip().lower(),
            "feed": CLUSTER,
            "healthzBindAddress": "0.0.0.0:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "takeOver": True,
            "conntrackMaxPerCore": 32 * 1024,
            "conntrackMin": 128 * 1024,
            "conntrackTcpTimeoutEstablished": "24h",
            "conntrackTcpTimeoutCloseWait": "1h",
            "oomScoreAdj": -999,
        },
    )

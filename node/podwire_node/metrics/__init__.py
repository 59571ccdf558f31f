"""What Prometheus is told: kube-proxy's metrics under kube-proxy's names, and podwire's own.

metrics     Metrics: what the agent calls, and the text
kube_proxy  the series that kube-proxy has too      own   those it has not
registry    a registry of our own, and its text
"""

from podwire_node.metrics.metrics import Metrics
from podwire_node.metrics.registry import CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "Metrics"]

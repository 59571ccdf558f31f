"""Kubernetes objects, frozen, holding only the fields podwire reads.

    base       names, metadata, canonical values     cluster    Node, Namespace, Pod
    services   Service, EndpointSlice                policies   NetworkPolicy

Field names are the API's, in Python's spelling (clusterIPs is cluster_ips). Defaults are
the API server's, because objects from a folder have met no API server. Addresses are
canonical after decoding; a value that breaks a rule raises ValueError in its own struct,
so that the error names the field. Unknown fields are ignored, as every API client must.

Sources: Kubernetes API reference, core/v1, discovery.k8s.io/v1, networking.k8s.io/v1.
"""

from podwire_core.objects.base import (
    ApiName,
    ClusterObject,
    KubernetesObject,
    Label,
    ObjectMeta,
    ObjectName,
    Port,
    Protocol,
    Struct,
)
from podwire_core.objects.cluster import (
    NAMESPACE_NAME_LABEL,
    NETWORK_UNAVAILABLE,
    Container,
    ContainerPort,
    Namespace,
    Node,
    NodeAddress,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
)
from podwire_core.objects.policies import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    NetworkPolicySpec,
    PolicyPeer,
    PolicyPort,
    PolicyType,
)
from podwire_core.objects.services import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Service,
    ServicePort,
    ServiceSpec,
)

__all__ = [
    "NAMESPACE_NAME_LABEL",
    "NETWORK_UNAVAILABLE",
    "SERVICE_NAME_LABEL",
    "ApiName",
    "ClusterObject",
    "Container",
    "ContainerPort",
    "EgressRule",
    "Endpoint",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSlice",
    "IPBlock",
    "IngressRule",
    "KubernetesObject",
    "Label",
    "Namespace",
    "NetworkPolicy",
    "NetworkPolicySpec",
    "Node",
    "NodeAddress",
    "NodeCondition",
    "NodeSpec",
    "NodeStatus",
    "ObjectMeta",
    "ObjectName",
    "Pod",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "PolicyPeer",
    "PolicyPort",
    "PolicyType",
    "Port",
    "Protocol",
    "Service",
    "ServicePort",
    "ServiceSpec",
    "Struct",
]

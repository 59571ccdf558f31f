"""Kubernetes objects, frozen, holding only the fields podwire reads.

    base       names, metadata, canonical values     cluster    Node, Namespace, Pod
    services   Service, EndpointSlice, ServiceCIDR   policies   NetworkPolicy
    attached   Attached, which comes from no API   cluster_policies   ClusterNetworkPolicy

Field names are the API's, in Python's spelling (clusterIPs is cluster_ips). Defaults are
the API server's, because objects from a folder have met no API server. Addresses are
canonical after decoding; a value that breaks a rule raises ValueError in its own struct,
so that the error names the field. Unknown fields are ignored, as every API client must; only a
ClusterNetworkPolicy tells of them, as its API wants.

Sources: Kubernetes API reference, core/v1, discovery.k8s.io/v1, networking.k8s.io/v1;
network-policy-api, policy.networking.k8s.io/v1alpha2.
"""

from podwire_core.objects.attached import Attached
from podwire_core.objects.base import (
    Annotations,
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
    TO_BE_DELETED_TAINT,
    ZONE_LABEL,
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
    PodMeta,
    PodSpec,
    PodStatus,
    Taint,
)
from podwire_core.objects.cluster_policies import (
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterPort,
    ClusterRule,
)
from podwire_core.objects.cluster_policy_spec import Action, NamespacedPods, Tier
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
    ClientIPConfig,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

__all__ = [
    "NAMESPACE_NAME_LABEL",
    "NETWORK_UNAVAILABLE",
    "SERVICE_NAME_LABEL",
    "TO_BE_DELETED_TAINT",
    "ZONE_LABEL",
    "Action",
    "Annotations",
    "ApiName",
    "Attached",
    "ClientIPConfig",
    "ClusterNetworkPolicy",
    "ClusterObject",
    "ClusterPeer",
    "ClusterPort",
    "ClusterRule",
    "Container",
    "ContainerPort",
    "EgressRule",
    "Endpoint",
    "EndpointConditions",
    "EndpointHints",
    "EndpointPort",
    "EndpointSlice",
    "Hint",
    "IPBlock",
    "IngressRule",
    "KubernetesObject",
    "Label",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "Namespace",
    "NamespacedPods",
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
    "PodMeta",
    "PodSpec",
    "PodStatus",
    "PolicyPeer",
    "PolicyPort",
    "PolicyType",
    "Port",
    "Protocol",
    "Service",
    "ServiceCIDR",
    "ServiceCIDRSpec",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "Struct",
    "Taint",
    "Tier",
]

"""Hypothesis strategies: what happens to Services, told as batches of changes.

Few names, addresses, ports and endpoints, so that Services want one address, slices move from
one Service to another, and what several of them share comes and goes. Everything is a document
that an API server may hold, or a folder of manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from proxy_stage import HERE, NEW, OLD, Document, endpoints, node, pod_address, read, service_cidr

from podwire_core.nft.objects import Key
from podwire_core.objects import EndpointSlice, KubernetesObject, Service
from podwire_core.snapshot import Change
from podwire_proxy.options import Local, Options

NAMES = st.sampled_from(["a", "b", "c"])
VIPS = ["10.96.0.10", "10.96.0.11", "fd00:10:96::10", "fd00:10:96::11"]
#: Of no one, of a Service, of the node, of this node's loopback, and of none at all.
OTHER_ADDRESSES = [
    "203.0.113.1", "203.0.113.1", "2001:db8::1", "10.96.0.10", "192.168.77.1", "127.0.0.1",
    "203.0.113.009", "::ffff:1.2.3.4", "0.0.0.0", "here", "",
]  # fmt: skip
RANGES = [
    "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "192.168.77.0/24", "0.0.0.0/0", "203.0.113.5/32",
    " 203.0.113.000/025", "::/0", "fd00::/8", "2001:db8::1/128", "10.0.0.1", "",
]  # fmt: skip
PORTS: list[Document] = [
    {"port": 80},
    {"port": 81, "name": "80"},
    {"port": 80, "name": "http"},
    {"port": 80, "name": "udp", "protocol": "UDP"},
    {"port": 80, "name": "http", "protocol": "SCTP"},
    {"port": 65535, "name": "http"},
]
NODE_PORTS = st.sampled_from([0, 30001, 30002, 80])
POD_CIDRS = ["10.244.0.0/24", "10.244.1.0/24", "10.244.0.0/16", "fd00:10:244::/64", "0.0.0.0/0"]
SERVICE_CIDRS = ["10.96.0.0/16", "10.96.0.0/24", "10.97.0.0/16", "fd00:10:96::/112", "::/0"]
NODE_IPS = ["192.168.77.1", "192.168.77.2", "fd00:77::1", "127.0.0.1"]
NODE_NAMES = st.sampled_from([HERE, HERE, "elsewhere", "", None])
ZONES = st.sampled_from(["", "za", "zb"])
MAYBE = st.sampled_from([True, False, None])

OPTIONS = st.sampled_from(
    [
        Options(),
        Options(masquerade_all=True),
        Options(localhost_nodeports=True),
        Options(Local("own"), nodeport_addresses=("0.0.0.0/0", "::/0"), localhost_nodeports=True),
        Options(Local("cidrs", cidrs=("10.244.0.0/16",))),
        Options(Local("interface", interface="pw*"), nodeport_addresses=("192.168.0.0/16",)),
    ]
)


def _some(items: Sequence[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(items), max_size=most)


@st.composite
def services(draw: st.DrawFn) -> KubernetesObject:
    """Any Service: of any type, with any policies, addresses and ports."""
    addresses = draw(st.sampled_from([VIPS[:1], VIPS[1:3], VIPS[2:], [VIPS[3], VIPS[0]], []]))
    ports = draw(st.lists(st.sampled_from(PORTS), max_size=3, unique_by=str))
    spec: Document = {
        "type": draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
        "clusterIP": addresses[0] if addresses else "None",
        "ports": [{**port, "nodePort": draw(NODE_PORTS)} for port in ports],
        "externalIPs": draw(_some(OTHER_ADDRESSES)),
        "loadBalancerSourceRanges": draw(_some(RANGES, 2)),
        "healthCheckNodePort": draw(st.sampled_from([0, 32000])),
        **draw(_policies()),
    }
    if addresses:
        spec["clusterIPs"] = addresses
    balancers = draw(_some(OTHER_ADDRESSES, 2))
    mode = draw(st.sampled_from([None, "VIP", "Proxy"]))
    metadata: Document = {
        "name": draw(NAMES),
        "creationTimestamp": draw(st.sampled_from([OLD, NEW, None])),
        "labels": draw(st.sampled_from([{}, {}, {}, {"service.kubernetes.io/headless": ""}])),
    }
    ingress = [{"ip": each, "ipMode": mode} for each in balancers]
    status = {"loadBalancer": {"ingress": ingress}}
    return read(Service, {"metadata": metadata, "spec": spec, "status": status})


def _policies() -> st.SearchStrategy[Document]:
    policy = st.sampled_from([None, "Cluster", "Local"])
    timeout = st.sampled_from([None, 0, 60, 10_800, 10**12])
    return st.fixed_dictionaries(
        {
            "internalTrafficPolicy": policy,
            "externalTrafficPolicy": policy,
            "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
            "sessionAffinityConfig": st.builds(
                lambda seconds: {"clientIP": {"timeoutSeconds": seconds}}, timeout
            ),
        }
    )


@st.composite
def slices(draw: st.DrawFn) -> KubernetesObject:
    """Any slice, of a few names, each of which may change its Service and even its family."""
    family = draw(st.sampled_from(["IPv4", "IPv4", "IPv6", "FQDN"]))
    numbers = draw(st.lists(st.integers(1, 6), max_size=5))
    wrong = "IPv6" if family == "IPv4" else "IPv4"
    spelled = draw(st.sampled_from([family, family, family, family, wrong]))
    named: list[Document] = [{"name": each.get("name", "")} for each in PORTS]
    row = st.fixed_dictionaries({"port": st.sampled_from([8080, 8080, 53, None])})
    ports = [
        {**draw(row), **each, "protocol": draw(st.sampled_from(["TCP", "TCP", "UDP", "SCTP"]))}
        for each in draw(_some(named))
    ]
    labels = {"kubernetes.io/service-name": draw(st.sampled_from(["a", "a", "b", "c", "ghost"]))}
    document = {
        "metadata": {"name": draw(st.sampled_from(["s1", "s2", "s3", "s4"])), "labels": labels},
        "addressType": family,
        "ports": ports,
        "endpoints": [
            {"addresses": [pod_address(number, spelled)], **draw(_endpoint())} for number in numbers
        ],
    }
    return read(EndpointSlice, document)


@st.composite
def ready_slices(draw: st.DrawFn) -> KubernetesObject:
    """A slice as most are: ready endpoints of a port that Services have."""
    numbers = draw(st.lists(st.integers(1, 40), max_size=9, unique=True))
    here = draw(st.sets(st.sampled_from(numbers))) if numbers else set()
    port = {"name": draw(st.sampled_from(["", "http"])), "port": 8080}
    name = draw(st.sampled_from(["s1", "s2"]))
    return endpoints(draw(NAMES), *numbers, name=name, here=sorted(here), port=port)


def _endpoint() -> st.SearchStrategy[Document]:
    hints = st.fixed_dictionaries(
        {"forZones": st.lists(st.fixed_dictionaries({"name": ZONES}), max_size=2)},
        optional={"forNodes": st.just([{"name": HERE}])},
    )
    conditions = {"ready": MAYBE, "serving": MAYBE, "terminating": MAYBE}
    return st.fixed_dictionaries(
        {"nodeName": NODE_NAMES, "conditions": st.fixed_dictionaries(conditions)},
        optional={"hints": hints},
    )


def _nodes() -> st.SearchStrategy[KubernetesObject]:
    return st.builds(
        lambda name, ips, cidrs, zone: node(name, *ips, cidrs=cidrs, zone=zone),
        st.sampled_from([HERE, "elsewhere"]),
        _some(NODE_IPS),
        _some(POD_CIDRS),
        ZONES,
    )


def _service_cidrs() -> st.SearchStrategy[KubernetesObject]:
    return st.builds(
        lambda name, cidrs: service_cidr(name, *cidrs),
        st.sampled_from(["kubernetes", "more"]),
        _some(SERVICE_CIDRS),
    )


def _changes() -> st.SearchStrategy[Change]:
    objects = st.one_of(
        services(), services(), slices(), ready_slices(), _nodes(), _service_cidrs()
    )
    gone = st.sampled_from([False, False, False, False, False, True])
    return st.builds(_change, objects, gone)


def _change(each: KubernetesObject, gone: bool) -> Change:
    return Change(type(each), each.name, None if gone else each)


#: Batches of changes, as a feed delivers them.
HISTORIES = st.lists(st.lists(_changes(), min_size=1, max_size=4), min_size=1, max_size=6)


def without_order(state: dict[Key, str]) -> dict[Key, list[str]]:
    """The state, in which slots are one list of a frontend: their numbers depend on the way."""
    found: dict[Key, list[str]] = {}
    for key, text in sorted(state.items()):
        at = (*key[:4], key[4].rpartition(" . ")[0]) if is_slot(key) else key
        found.setdefault(at, []).append(text)
    return {key: sorted(texts) for key, texts in found.items()}


def is_slot(key: Key) -> bool:
    """Whether a key is an element of a map of slots."""
    return len(key) == 5 and "endpoints-" in key[3]

"""Hypothesis strategies: what happens to Services, told as batches of changes.

Few names, addresses, ports and endpoints, so that Services want one address, slices move from
one Service to another, and what several of them share comes and goes. Everything is a document
that an API server may hold, or a folder of manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec import convert, structs
from proxy_stage import HERE, NEW, OLD, Document, endpoints, node, pod_address, read, service_cidr

from podwire_core.nft.objects import Key
from podwire_core.objects import EndpointPort, EndpointSlice, KubernetesObject, Service
from podwire_core.snapshot import Change
from podwire_proxy.options import Local, Options

NAMES = st.sampled_from("abc")
VIPS = ["10.96.0.10", "10.96.0.11", "10.96.0.12", "fd00:10:96::10", "fd00:10:96::11"]
#: clusterIPs of a Service: often of its own, sometimes another's, of one family or both, or none.
CLUSTER_IPS = [
    VIPS[:1], VIPS[1:2], VIPS[2:3], [VIPS[0], VIPS[3]], [VIPS[4], VIPS[1]], VIPS[3:4], [],
]  # fmt: skip
#: Of no one, of a Service, of the node, of this node's loopback, and of none at all.
OTHER_ADDRESSES = [
    "203.0.113.1", "203.0.113.1", "2001:db8::1", "10.96.0.10", "192.168.77.1", "127.0.0.1",
    "203.0.113.009", "::ffff:1.2.3.4", "0.0.0.0", "here", "",
]  # fmt: skip
RANGES = [
    "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "192.168.77.0/24", "0.0.0.0/0", "203.0.113.5/32",
    " 203.0.113.000/025", "::/0", "fd00::/8", "2001:db8::1/128", "10.0.0.1", "",
]  # fmt: skip
PORTS: list[list[Document]] = [
    [{"port": 80}],
    [{"port": 80, "name": "http"}],
    [{"port": 80, "name": "http"}, {"port": 80, "name": "udp", "protocol": "UDP"}],
    [{"port": 80, "name": "udp", "protocol": "UDP"}],
    [{"port": 80, "name": "http"}, {"port": 65535, "name": "http", "protocol": "SCTP"}],
    [{"port": 80}, {"port": 81, "name": "80"}],
    [],
]
#: Ports of a slice that has one for each of those.
EVERY_PORT: list[Document] = [
    {"name": "", "port": 8080},
    {"name": "80", "port": 8081},
    {"name": "http", "port": 8080},
    {"name": "http", "port": 8080, "protocol": "SCTP"},
    {"name": "udp", "port": 53, "protocol": "UDP"},
]
NODE_PORTS = st.sampled_from([30001, 30002, 30003, 80, 0])
POD_CIDRS = ["10.244.0.0/24", "10.244.1.0/24", "10.244.0.0/16", "fd00:10:244::/64", "0.0.0.0/0"]
SERVICE_CIDRS = ["10.96.0.0/16", "10.96.0.0/24", "10.97.0.0/16", "fd00:10:96::/112", "::/0"]
NODE_IPS = ["192.168.77.1", "192.168.77.2", "fd00:77::1", "127.0.0.1"]
NODE_NAMES = st.sampled_from([HERE, HERE, "elsewhere", "", None])
ZONES = st.sampled_from(["", "za", "zb"])
MAYBE = st.sampled_from([True, False, None])
SLICE_NAMES = st.sampled_from(["a-IPv4", "b-IPv4", "c-IPv4", "a-IPv6"])

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
    addresses = draw(st.sampled_from(CLUSTER_IPS))
    spec: Document = {
        "type": draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
        "clusterIP": addresses[0] if addresses else "None",
        "ports": [{**port, "nodePort": draw(NODE_PORTS)} for port in draw(st.sampled_from(PORTS))],
        "externalIPs": draw(_some(OTHER_ADDRESSES, 2)),
        "healthCheckNodePort": draw(st.sampled_from([0, 32000])),
        **draw(_policies()),
    }
    if addresses:
        spec["clusterIPs"] = addresses
    balancers = draw(_some(OTHER_ADDRESSES, 2))
    if balancers:
        spec["loadBalancerSourceRanges"] = draw(_some(RANGES, 2))
    mode = draw(st.sampled_from([None, "VIP", "Proxy"]))
    metadata: Document = {
        "name": draw(NAMES),
        "creationTimestamp": draw(st.sampled_from([OLD, NEW, None])),
        "labels": draw(st.sampled_from([{}, {}, {}, {"service.kubernetes.io/headless": ""}])),
    }
    ingress = [{"ip": each, "ipMode": mode} for each in balancers]
    status = {"loadBalancer": {"ingress": ingress}}
    return read(Service, {"metadata": metadata, "spec": spec, "status": status})


@st.composite
def plain_services(draw: st.DrawFn, name: str = "") -> KubernetesObject:
    """A Service as most are: an address and ports of its own, perhaps a balancer."""
    name = name or draw(NAMES)
    address = VIPS["abc".index(name)]
    ports = draw(st.sampled_from(PORTS[:3]))
    first = 30000 + 10 * "abc".index(name)
    spec = {
        "clusterIP": address,
        "ports": [{**row, "nodePort": first + n} for n, row in enumerate(ports)],
        "loadBalancerSourceRanges": draw(_some(RANGES[:4], 2)),
        **draw(_policies()),
    }
    balancers = draw(st.sampled_from([[], [{"ip": f"203.0.113.{first % 100}"}]]))
    metadata = {"name": name, "creationTimestamp": OLD}
    status = {"loadBalancer": {"ingress": balancers}}
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
    wrong = "IPv6" if family == "IPv4" else "IPv4"
    spelled = draw(st.sampled_from([family, family, family, family, wrong]))
    numbers = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    labels = {"kubernetes.io/service-name": draw(st.sampled_from(["a", "b", "c", "ghost"]))}
    odd = {"name": "http", "port": draw(st.sampled_from([None, 53, 8080]))}
    document = {
        "metadata": {"name": draw(SLICE_NAMES), "labels": labels},
        "addressType": family,
        "ports": draw(st.sampled_from([EVERY_PORT, EVERY_PORT, [odd], EVERY_PORT[:1], []])),
        "endpoints": [
            {"addresses": [pod_address(number, spelled)], **draw(_endpoint())} for number in numbers
        ],
    }
    return read(EndpointSlice, document)


@st.composite
def ready_slices(draw: st.DrawFn, owner: str = "") -> KubernetesObject:
    """A slice as most are: ready endpoints, of which some are here, for every port."""
    owner = owner or draw(NAMES)
    numbers = draw(st.sampled_from([[1], [1, 2], [2, 3], [1, 2, 3], [4, 5, 6], range(1, 19), []]))
    family = draw(st.sampled_from(["IPv4", "IPv4", "IPv4", "IPv6"]))
    here = draw(st.sampled_from([[], [1], [1, 2], range(40)]))
    name = f"{owner}-{family}"
    made = endpoints(owner, *numbers, name=name, here=here, family=family)
    return structs.replace(made, ports=tuple(convert(EVERY_PORT, list[EndpointPort])))


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
        services(),
        plain_services(),
        plain_services(),
        slices(),
        ready_slices(),
        ready_slices(),
        _nodes(),
        _service_cidrs(),
    )
    gone = st.sampled_from([False, False, False, False, False, True])
    return st.builds(_change, objects, gone)


def _change(each: KubernetesObject, gone: bool) -> Change:
    return Change(type(each), each.name, None if gone else each)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Change]]:
    """Batches of changes, as a feed delivers them; the first is a cluster in which all is well."""
    start = [
        draw(each(name))
        for name in draw(st.sampled_from(["a", "ab", "abc", ""]))
        for each in (plain_services, ready_slices)
    ]
    batches = draw(st.lists(st.lists(_changes(), min_size=1, max_size=3), max_size=5))
    return [[_change(each, gone=False) for each in start], *batches]


HISTORIES = histories()


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

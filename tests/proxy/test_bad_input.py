"""Whatever an object says: it is refused by name, or served as far as it makes sense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_stage import HERE, Document, Stage, endpoints, node, service

from podwire_core.errors import ObjectError
from podwire_core.feed.decode import decode
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service, ServiceCIDR
from podwire_core.snapshot import Kind

WILD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 53, 65535, 65536, 2**31, 2**63, 10**30, 1.5, float("inf")]),
    st.sampled_from(
        ["", " ", "None", "a" * 300, "é", "\u017f", "\x00", "\n", '"; }', "\u0661\u0662", "x\ud7ff"]
    ),
    st.text(max_size=5),
    st.sampled_from([[], {}, [None], [[]], [{}], {"a": {}}]),
)
ADDRESSES = st.one_of(
    st.sampled_from(
        [
            "10.96.0.10", "fd00:10:96::a", "1.2.3.4", "010.0.0.1", "0.0.0.0", "255.255.255.255",
            "127.0.0.1", "224.0.0.1", "::", "::1", "::ffff:1.2.3.4", "::1.2.3.4", "FD00::0:1",
            "fe80::1%eth0", "1.2.3", "1.2.3.4.5", "1.2.3.256", "0x7f.0.0.1", "1.2.3.4\n",
            "\u0661.2.3.4", "1.2.3.4/32", "1.2.3.4; drop", "99999.1.1.1", " 1.2.3.4",
        ]
    ),
    WILD,
)  # fmt: skip
CIDRS = st.one_of(
    st.sampled_from(
        [
            "10.0.0.0/8", "0.0.0.0/0", "::/0", "10.1.2.3/8", "10.0.0.0/33",
            "10.0.0.0/-1", "10.0.0.0/255.0.0.0", "10.0.0.0/0.0.0.255", "::/129", "10.0.0.0/", "/8",
            "10.0.0.0/8/8", "010.0.0.0/008", "fd00::/8", "::ffff:0:0/96", "1.2.3.4/32", "::1/128",
            "10.0.0.0/\uff18",
        ]
    ),
    WILD,
)  # fmt: skip
NUMBERS = st.one_of(st.sampled_from([80, 81, 30000]), WILD)
NAMES = st.one_of(st.sampled_from(["", "http", "80", "a" * 63, "a" * 64, "HTTP", "a_b"]), WILD)
PROTOCOLS = st.one_of(st.sampled_from(["TCP", "UDP", "SCTP", "tcp", "ICMP"]), WILD)


def often(usual: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is usual, mostly: a document in which all is wrong tells nothing."""
    return st.one_of(*[st.just(usual)] * 5, strategy)


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(items, max_size=3), st.none(), WILD)


def documents(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """Documents that have some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


METADATA = st.one_of(
    st.just({"name": "web", "labels": {"kubernetes.io/service-name": "web"}}),
    st.just({"name": "web-1", "namespace": "default", "creationTimestamp": "yesterday"}),
    documents(
        name=NAMES,
        namespace=NAMES,
        labels=st.one_of(st.dictionaries(st.text(max_size=3), WILD, max_size=2), WILD),
        creationTimestamp=WILD,
        annotations=WILD,
    ),
)
SERVICE_PORTS = documents(name=NAMES, port=NUMBERS, protocol=PROTOCOLS, nodePort=NUMBERS)
SERVICES = st.fixed_dictionaries(
    {
        "metadata": often({"name": "web"}, METADATA),
        "spec": documents(
            type=often("LoadBalancer", WILD),
            clusterIP=often("10.96.0.10", ADDRESSES),
            clusterIPs=often(["10.96.0.10", "fd00:10:96::a"], lists(ADDRESSES)),
            ipFamilies=often(["IPv4"], WILD),
            ports=often([{"port": 80, "nodePort": 30000}], lists(SERVICE_PORTS)),
            externalIPs=lists(ADDRESSES),
            loadBalancerSourceRanges=lists(CIDRS),
            healthCheckNodePort=often(32000, NUMBERS),
            sessionAffinity=often("ClientIP", WILD),
            sessionAffinityConfig=often({"clientIP": {"timeoutSeconds": 10**20}}, WILD),
            internalTrafficPolicy=often("Local", WILD),
            externalTrafficPolicy=often("Local", WILD),
        ),
        "status": documents(
            loadBalancer=documents(ingress=lists(documents(ip=ADDRESSES, ipMode=WILD)))
        ),
    }
)
HINTS = documents(forZones=lists(documents(name=NAMES)), forNodes=lists(documents(name=NAMES)))
ENDPOINTS = documents(
    addresses=often(["10.244.0.1"], lists(ADDRESSES)),
    conditions=documents(ready=WILD, serving=WILD, terminating=WILD),
    nodeName=often(HERE, WILD),
    hints=often(None, HINTS),
)
SLICES = st.fixed_dictionaries(
    {
        "metadata": often({"name": "s", "labels": {"kubernetes.io/service-name": "web"}}, METADATA),
        "addressType": often("IPv4", WILD),
    },
    optional={
        "ports": often([{"port": 8080}], lists(documents(name=NAMES, port=NUMBERS))),
        "endpoints": often([{"addresses": ["10.244.0.2"]}], lists(ENDPOINTS)),
    },
)
NODES = st.fixed_dictionaries(
    {
        "metadata": often({"name": HERE}, METADATA),
        "spec": documents(podCIDR=CIDRS, podCIDRs=lists(CIDRS), taints=WILD),
        "status": documents(
            addresses=lists(documents(type=often("InternalIP", WILD), address=ADDRESSES))
        ),
    }
)
SERVICE_CIDRS = st.fixed_dictionaries(
    {"metadata": often({"name": "kubernetes"}, METADATA), "spec": documents(cidrs=lists(CIDRS))}
)
ANY: st.SearchStrategy[tuple[Kind, Any]] = st.one_of(
    st.tuples(st.just(Service), SERVICES),
    st.tuples(st.just(Service), SERVICES),
    st.tuples(st.just(EndpointSlice), SLICES),
    st.tuples(st.just(Node), NODES),
    st.tuples(st.just(ServiceCIDR), SERVICE_CIDRS),
)


def read(kind: Kind, document: Document) -> KubernetesObject | None:
    """The object, or None where it is refused; a refusal says what it refuses."""
    try:
        return decode(document, kind, "test")
    except ObjectError as error:
        refused = error
    assert refused.object.startswith(kind.__name__)
    assert refused.reason
    return None


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.lists(ANY, min_size=1, max_size=4))
def test_whatever_an_object_says_nothing_breaks(documents: list[tuple[Kind, Any]]) -> None:
    stage = Stage()
    stage.put(service("good", "10.96.0.99"), endpoints("good", 9))
    for each in filter(None, (read(*row) for row in documents)):
        sent = stage.put(each)
        for line in str(sent).splitlines():
            assert line.isascii(), line
            assert line.isprintable(), line
            assert line.count('"') in {0, 2}, line
    for problem in stage.services.problems:
        assert problem.object
        assert len(problem.reason) < 300
    assert stage.backends("10.96.0.99:80/TCP") == ("10.244.0.9",), "the rest is served"
    assert not stage.again().start(*stage.objects)


@pytest.mark.parametrize(
    ("promise", "port", "field"),
    [
        ("port 0", {"port": 0}, "spec.ports[0].port"),
        ("a port beyond the last", {"port": 65536}, "spec.ports[0].port"),
        ("a port that is a word", {"port": "http"}, "spec.ports[0].port"),
        ("a protocol that is none", {"port": 80, "protocol": "tcp"}, "spec.ports[0].protocol"),
        ("a name that is none", {"port": 80, "name": 'x" drop'}, "spec.ports[0].name"),
        ("a NodePort beyond the last", {"port": 80, "nodePort": 70_000}, "spec.ports[0].nodePort"),
    ],
)
def test_what_cannot_be_a_port_names_object_and_field(
    promise: str, port: Document, field: str
) -> None:
    document = {
        "metadata": {"name": "web"},
        "spec": {"clusterIP": "10.96.0.10", "ports": [port]},
    }
    with pytest.raises(ObjectError) as refused:
        decode(document, Service, "test")
    assert (refused.value.object, refused.value.field) == ("Service default/web", field), promise


def test_a_service_s_longest_name_fits_a_comment() -> None:
    stage = Stage()
    name = "a" * 63
    ports = [{"name": "p" * 63, "port": 80}]
    each = service(name, ports=ports, sessionAffinity="ClientIP", nodePort=0)
    stage.put(each, endpoints(name, 1, port={"name": "p" * 63, "port": 8080}), node())
    assert not stage.again().start(*stage.objects)

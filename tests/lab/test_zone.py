"""Cluster DNS: a table of questions and answers, then the wire."""

from __future__ import annotations

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.files import write_json
from podwire_core.objects import ObjectMeta
from podwire_core.snapshot import Snapshot
from podwire_lab.programs.dns import Names, Stream, respond
from podwire_lab.programs.zone import Type, Zone, answer
from podwire_lab.workloads import LabEndpoint, LabEndpointSlice, LabService, LabServiceSpec

OBJECTS = """
    apiVersion: v1
    kind: Service
    metadata: {name: api, namespace: shop}
    spec:
      clusterIPs: ["10.96.0.50", "fd00:10:96::50"]
      clusterIP: 10.96.0.50
      ipFamilies: [IPv4, IPv6]
      ports: [{name: http, port: 80}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db, namespace: shop}
    spec:
      clusterIP: None
      selector: {app: db}
      ports: [{name: sql, port: 5432}]
    ---
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: pg, namespace: shop}
    spec:
      replicas: 2
      serviceName: db
      selector: {matchLabels: {app: db}}
      template:
        metadata: {labels: {app: db}}
        spec: {containers: [{name: c}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: away, namespace: shop}
    spec: {type: ExternalName, externalName: www.example.org}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: alias, namespace: shop}
    spec: {type: ExternalName, externalName: api.shop.svc.cluster.local}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: loop, namespace: shop}
    spec: {type: ExternalName, externalName: loop.shop.svc.cluster.local}
"""


@pytest.fixture
def zone(cluster) -> Zone:
    return Zone(cluster.apply(OBJECTS).settle().snapshot)


API = "api.shop.svc.cluster.local"
DB = "db.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        (API, "A", ["10.96.0.50"]),
        (API, "AAAA", ["fd00:10:96::50"]),
        (f"_http._tcp.{API}", "SRV", [API]),
        (f"_sql._tcp.{DB}", "SRV", [f"pg-0.{DB}", f"pg-1.{DB}"]),
        ("away.shop.svc.cluster.local", "A", ["www.example.org"]),
        ("alias.shop.svc.cluster.local", "A", [API, "10.96.0.50"]),
        ("50.0.96.10.in-addr.arpa", "PTR", [API]),
        ("dns-version.cluster.local", "TXT", ["1.1.0"]),
        ("kube-dns.kube-system.svc.cluster.local", "A", ["10.96.0.10"]),
    ],
)
def test_names_have_their_records(zone, name, kind, data):
    assert [row.data for row in answer(name, Type(kind), zone).records] == data


def test_a_headless_name_stands_for_its_ready_endpoints(cluster, zone):
    pods = [cluster.pod(f"shop/pg-{number}") for number in (0, 1)]
    ips = [row.data for row in answer(DB, Type.A, zone).records]
    assert ips == sorted(pod.ips[0] for pod in pods)
    assert [row.data for row in answer(f"pg-1.{DB}", Type.A, zone).records] == [pods[1].ips[0]]
    cluster.report("shop/pg-1", ready=False)
    after = Zone(cluster.snapshot)
    assert [row.data for row in answer(DB, Type.A, after).records] == [pods[0].ips[0]]
    assert not answer(f"pg-1.{DB}", Type.A, after).exists


def test_a_pods_address_is_a_name_and_points_back_to_its_headless_name(cluster, zone):
    ip = cluster.pod("shop/pg-0").ips[0]
    name = f"{ip.replace('.', '-')}.shop.pod.cluster.local"
    assert [row.data for row in answer(name, Type.A, zone).records] == [ip]
    backwards = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
    assert [row.data for row in answer(backwards, Type.PTR, zone).records] == [f"pg-0.{DB}"]


def test_srv_brings_the_addresses_of_its_targets(zone):
    found = answer(f"_http._tcp.{API}", Type.SRV, zone)
    assert [row.port for row in found.records] == [80]
    assert {row.data for row in found.additional} == {"10.96.0.50", "fd00:10:96::50"}


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        (DB, True),  # has A only: an empty answer
        ("shop.svc.cluster.local", True),  # names stand below it
        ("svc.cluster.local", True),
        ("nobody.shop.svc.cluster.local", False),
        ("api.elsewhere.svc.cluster.local", False),
        ("www.example.org.shop.svc.cluster.local", False),
        ("www.example.org", False),
    ],
)
def test_a_name_that_stands_is_never_nxdomain(zone, name, exists):
    found = answer(name, Type.AAAA, zone)
    assert (found.exists, found.records) == (exists, ())


def test_an_alias_of_itself_ends(zone):
    assert answer("loop.shop.svc.cluster.local", Type.A, zone).exists


# --------------------------------------------------------------------------------- the wire


def ask(zone: Zone, name: str, kind: str = "A", **options) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(
        respond(dnslib.DNSRecord.question(name, kind).pack(), zone, **options)
    )


def test_an_answer_is_authoritative_and_short_lived_and_keeps_the_askers_spelling(zone):
    reply = ask(zone, "API.shop.SVC.cluster.local")
    assert (reply.header.aa, reply.header.ra, reply.header.rcode) == (1, 1, dnslib.RCODE.NOERROR)
    assert (str(reply.a.rname), str(reply.a.rdata)) == ("API.shop.SVC.cluster.local.", "10.96.0.50")
    assert reply.a.ttl == 5


@pytest.mark.parametrize(
    ("name", "kind", "code", "authority"),
    [
        (DB, "AAAA", "NOERROR", "cluster.local."),
        (API, "MX", "NOERROR", "cluster.local."),
        ("nobody.cluster.local", "A", "NXDOMAIN", "cluster.local."),
        ("www.example.org", "A", "NXDOMAIN", "."),
    ],
)
def test_a_no_carries_the_soa_that_bounds_its_life(zone, name, kind, code, authority):
    reply = ask(zone, name, kind)
    assert dnslib.RCODE[reply.header.rcode] == code
    assert [(str(row.rname), row.rtype) for row in reply.auth] == [(authority, dnslib.QTYPE.SOA)]


MANY = "many.shop.svc.cluster.local"


def zone_with(addresses: int) -> Zone:
    endpoints = tuple(LabEndpoint((f"10.0.0.{number}",)) for number in range(addresses))
    labels = {"kubernetes.io/service-name": "many"}
    meta = ObjectMeta("many", "shop", labels)
    service = LabService(ObjectMeta("many", "shop"), LabServiceSpec(cluster_ip="None"))
    return Zone(Snapshot([service, LabEndpointSlice(meta, "IPv4", endpoints)]))


def test_an_answer_too_long_for_a_datagram_says_to_ask_by_tcp():
    zone = zone_with(addresses=100)
    assert (ask(zone, MANY).header.tc, ask(zone, MANY).rr) == (1, [])
    assert len(ask(zone, MANY, stream=True).rr) == 100


def test_a_client_that_speaks_edns_may_have_longer_datagrams():
    zone = zone_with(addresses=50)
    request = dnslib.DNSRecord.question(MANY)
    assert dnslib.DNSRecord.parse(respond(request.pack(), zone)).header.tc
    request.add_ar(dnslib.EDNS0(udp_len=4096))
    reply = dnslib.DNSRecord.parse(respond(request.pack(), zone))
    assert len(reply.rr) == 50
    assert [row.rtype for row in reply.ar] == [dnslib.QTYPE.OPT]


def test_a_response_is_never_answered(zone):
    reply = respond(dnslib.DNSRecord.question(API).pack(), zone)
    assert respond(reply, zone) is None


@given(st.binary(max_size=64))
def test_no_packet_upsets_the_server(packet):
    message = respond(packet, Zone(Snapshot()))
    assert message is None or message[:2] == packet[:2]


def test_names_too_long_for_dns_are_left_out_and_harm_nobody(cluster):
    text = "{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: shop}, spec: {%s}}"
    cluster.apply(text % ("x" * 100, "ports: [{port: 80}]"))
    cluster.apply(text % ("y", "type: ExternalName, externalName: a..b"))
    zone = Zone(cluster.snapshot)
    assert "y.shop.svc.cluster.local" not in zone
    assert not answer("11.0.96.10.in-addr.arpa", Type.PTR, zone).exists


def test_tcp_carries_many_messages_in_any_pieces(tmp_path):
    packet = dnslib.DNSRecord.question("dns-version.cluster.local", "TXT").pack()
    with Names(tmp_path) as names:
        stream = Stream(names)
        for byte in (len(packet).to_bytes(2, "big") + packet) * 3:
            stream.receive(bytes([byte]))
        size = 2 + int.from_bytes(stream.pending[:2], "big")
        assert len(stream.pending) == 3 * size
        stream.receive(b"")
        assert stream.closing


def test_the_server_follows_its_folder(tmp_path, cluster):
    with Names(tmp_path) as names:
        assert API not in names.zone
        for name, document in cluster.apply(OBJECTS).objects.items():
            write_json(tmp_path / name, document)
        names.read()
        assert API in names.zone

"""Services as documents: with addresses, ports of the nodes, and the API server's defaults.

    what a Service needs                                            a Claim, where it is published
    every one but headless ones                an address a family   spec.clusterIPs
    NodePort, LoadBalancer                     a port a port         spec.ports[].nodePort
    LoadBalancer, externalTrafficPolicy Local  a port                spec.healthCheckNodePort
    LoadBalancer of no class                   an address a family   status.loadBalancer.ingress

A Service keeps what it has while others come, and over a restart (ledger.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from podwire_core import typed
from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.objects import ObjectName, ServicePort
from podwire_lab.control import traffic
from podwire_lab.control.ledger import (
    BALANCER_POOLS,
    CLUSTER_POOLS,
    PORTS,
    Claim,
    Ledger,
    RefusedError,
)
from podwire_lab.control.manifests import Document, Manifest
from podwire_lab.control.past import Past
from podwire_lab.workloads import LabService, LabServiceSpec

_ANY_FAMILY = {"PreferDualStack", "RequireDualStack"}
_HEALTH_PORT, _INGRESS = "spec.healthCheckNodePort", "status.loadBalancer.ingress"


def desired_services(
    manifests: Iterable[Manifest], past: Past
) -> tuple[list[Document], list[ObjectError]]:
    """Every Service with its addresses and ports, and those that cannot have what they ask."""
    errors: list[ObjectError] = []
    claims: dict[Manifest, list[Claim]] = {}
    ledger = Ledger()
    for manifest in manifests:
        with _judged(manifest, errors):
            claims[manifest] = _claims(_spec(manifest), past.document("Service", manifest.name))
    granted = []
    for manifest in sorted(claims, key=lambda each: _rank(each, claims[each])):
        with _judged(manifest, errors):
            ledger.settle(manifest.name, claims[manifest])
            granted.append(manifest)
    documents = []
    for manifest in granted:
        with _judged(manifest, errors):
            ledger.fill(manifest.name, claims[manifest])
            documents.append(_document(manifest, past, ledger.given(manifest.name)))
    return documents, errors


@contextmanager
def _judged(manifest: Manifest, errors: list[ObjectError]) -> Iterator[None]:
    """A Service that is refused is an error; the rest goes on."""
    try:
        yield
    except RefusedError as refused:
        errors.append(manifest.error(refused.field, refused.reason))


def _spec(manifest: Manifest) -> LabServiceSpec:
    return cast("LabService", manifest.found).spec


def _rank(manifest: Manifest, claims: Sequence[Claim]) -> tuple[int, bool, ObjectName]:
    """Who goes first: those that have what they want, then those that ask, the system's own."""
    asks = any(row.asked for row in claims)
    has = any(row.held for row in claims) and all(row.asked in {"", row.held} for row in claims)
    return (0 if has else 1 if asks else 2, manifest.name.namespace != "kube-system", manifest.name)


# ------------------------------------------------------------------- what a Service needs


def _claims(spec: LabServiceSpec, before: Document) -> list[Claim]:
    _check_ports(spec.ports or ())
    traffic.check(spec)
    if spec.type == "ExternalName":
        return []
    rows = [*_address_claims(spec, before)] if spec.cluster_ip != "None" else []
    if spec.type in traffic.OUTSIDE:
        rows += _node_port_claims(spec, before)
    if spec.type == "LoadBalancer":
        rows += _balancer_claims(spec, before)
    return rows


def _address_claims(spec: LabServiceSpec, before: Document) -> Iterator[Claim]:
    asked = {family_of(ip): ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip}
    held = _by_family(before.get("spec", {}).get("clusterIPs") or ())
    for index, family in enumerate(families(spec)):
        field, pool = f"spec.clusterIPs[{index}]", CLUSTER_POOLS[family]
        yield Claim(field, pool, asked.get(family, ""), held.get(family, ""))


def _node_port_claims(spec: LabServiceSpec, before: Document) -> Iterator[Claim]:
    """A port for each port; a LoadBalancer may want none but those that it names."""
    held = _held_ports(before)
    for index, row in enumerate(spec.ports or ()):
        if row.node_port or spec.type == "NodePort" or spec.allocate_load_balancer_node_ports:
            field, asked = f"spec.ports[{index}].nodePort", str(row.node_port or "")
            yield Claim(field, PORTS, asked, held.get((row.name, row.protocol), ""))


def _balancer_claims(spec: LabServiceSpec, before: Document) -> Iterator[Claim]:
    """An address a family, but for balancers of a class; a port where nodes are told apart."""
    if spec.external_traffic_policy == "Local":
        held = str(before.get("spec", {}).get("healthCheckNodePort") or "")
        yield Claim(_HEALTH_PORT, PORTS, str(spec.health_check_node_port or ""), held)
    if not spec.load_balancer_class:
        ingress = before.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        there = _by_family(row["ip"] for row in ingress)
        for index, family in enumerate(families(spec)):
            pool = BALANCER_POOLS[family]
            yield Claim(f"{_INGRESS}[{index}]", pool, held=there.get(family, ""))


def families(spec: LabServiceSpec) -> tuple[Family, ...]:
    """The families a Service has addresses of, its first one first. Raises for contradictions.

    Defaults as the API server's: families of the addresses asked for, else IPv4; two of
    anything mean RequireDualStack (KEP-563).
    """
    asked = tuple(family_of(ip) for ip in spec.cluster_ips or (spec.cluster_ip,) if ip)
    if spec.cluster_ip == "None":
        asked = ()
    if asked and spec.cluster_ip not in {"", (spec.cluster_ips or (spec.cluster_ip,))[0]}:
        raise RefusedError("spec.clusterIP", "is not the first of spec.clusterIPs")
    if len(set(asked)) < len(asked):
        raise RefusedError("spec.clusterIPs", "takes one address of each family")
    named = spec.ip_families or asked or (Family.IPV4,)
    if len(set(named)) < len(named):
        raise RefusedError("spec.ipFamilies", "names one family twice")
    if asked != named[: len(asked)]:
        raise RefusedError("spec.clusterIPs", "are of other families than spec.ipFamilies says")
    policy = spec.ip_family_policy or ("RequireDualStack" if len(named) > 1 else "SingleStack")
    if policy in _ANY_FAMILY:
        return (*named, *(family for family in Family if family not in named))
    if policy != "SingleStack":
        raise RefusedError("spec.ipFamilyPolicy", f"{policy!r} is no policy")
    if len(named) > 1:
        raise RefusedError("spec.ipFamilyPolicy", "is SingleStack, but there are two families")
    return named


def _check_ports(ports: Sequence[ServicePort]) -> None:
    names = [row.name for row in ports]
    keys = [(row.port, row.protocol) for row in ports]
    for index, row in enumerate(ports):
        if len(ports) > 1 and not row.name:
            raise RefusedError(f"spec.ports[{index}].name", "is missing: several ports need names")
        if row.name in names[:index]:
            raise RefusedError(f"spec.ports[{index}].name", f"{row.name} stands there twice")
        if keys[index] in keys[:index]:
            raise RefusedError(
                f"spec.ports[{index}].port", f"{row.port}/{row.protocol} stands twice"
            )


def _by_family(ips: Iterable[str]) -> dict[Family, str]:
    return {family_of(ip): ip for ip in ips if ip != "None"}


def _held_ports(before: Document) -> dict[tuple[str, str], str]:
    rows = before.get("spec", {}).get("ports") or ()
    return {
        (row.get("name", ""), row["protocol"]): str(row["nodePort"])
        for row in rows
        if row.get("nodePort")
    }


# ---------------------------------------------------------------------------- as documents


def _document(manifest: Manifest, past: Past, given: Mapping[str, str]) -> Document:
    """The status is ours alone: whoever writes one into a manifest has copied it."""
    published = {key: value for key, value in past.publish(manifest).items() if key != "status"}
    spec = _spec(manifest)
    if spec.type == "ExternalName":
        return published
    ingress = [{"ip": ip, "ipMode": "VIP"} for ip in _balancers(given)]
    status = {"status": {"loadBalancer": {"ingress": ingress}}} if ingress else {}
    return {**published, "spec": _addressed(spec, published.get("spec", {}), given), **status}


def _balancers(given: Mapping[str, str]) -> list[str]:
    return [value for field, value in sorted(given.items()) if field.startswith(_INGRESS)]


def _addressed(spec: LabServiceSpec, written: Document, given: Mapping[str, str]) -> Document:
    names = families(spec)
    ips = ["None"]
    if spec.cluster_ip != "None":
        ips = [given[f"spec.clusterIPs[{index}]"] for index in range(len(names))]
    dual = len(names) > 1
    health = {"healthCheckNodePort": int(given[_HEALTH_PORT])} if _HEALTH_PORT in given else {}
    return {
        **written,
        "type": spec.type,
        "clusterIP": ips[0],
        "clusterIPs": ips,
        "ipFamilies": [family.value for family in names],
        "ipFamilyPolicy": spec.ip_family_policy or ("RequireDualStack" if dual else "SingleStack"),
        **traffic.defaults(spec),
        **health,
        "ports": [
            _port(row, port, given.get(f"spec.ports[{index}].nodePort"))
            for index, (row, port) in enumerate(
                zip(written.get("ports") or (), spec.ports or (), strict=True)
            )
        ],
    }


def _port(written: Document, port: ServicePort, node_port: str | None) -> Document:
    document = {key: value for key, value in written.items() if key != "nodePort"}
    document["protocol"] = port.protocol.value
    document["targetPort"] = port.port if port.target_port is None else port.target_port
    if node_port is not None:
        document["nodePort"] = int(node_port)
    return document


def as_service(document: Document) -> LabService:
    """A published Service, typed."""
    return typed.convert(document, LabService)

"""Services as documents: addresses of the service ranges, ports of the nodes.

    1  what an author asks for and what a Service holds already is claimed; who holds goes first
    2  what is still missing takes the lowest free one

So a Service keeps what it has while others come, and over a restart of the control plane.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import msgspec

from podwire_core.errors import ObjectError
from podwire_core.family import Family, family_of
from podwire_core.objects import ObjectName, ServicePort
from podwire_lab.control.manifests import Document, Manifest
from podwire_lab.control.past import Past
from podwire_lab.topology import NODE_PORTS, SERVICES_V4, SERVICES_V6
from podwire_lab.workloads import LabService, LabServiceSpec

RANGES: Mapping[Family, ipaddress.IPv4Network | ipaddress.IPv6Network] = {
    Family.IPV4: SERVICES_V4,
    Family.IPV6: SERVICES_V6,
}
#: Addresses below this one are for those that ask for them; DNS has .10.
FIRST_FREE = 11
_ANY_FAMILY = {"PreferDualStack", "RequireDualStack"}


class _RefusedError(ValueError):
    """A Service that cannot be served: the field at fault, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class _Claim:
    """One thing that a Service needs: an address of a family, or (family None) a node port.

    asked: what its author wrote; held: what was published before. "" is neither.
    """

    field: str
    family: Family | None
    asked: str = ""
    held: str = ""


def desired_services(
    manifests: Iterable[Manifest], past: Past
) -> tuple[list[Document], list[ObjectError]]:
    """Every Service with its addresses and ports, and those that cannot have what they ask."""
    errors: list[ObjectError] = []
    claims: dict[Manifest, list[_Claim]] = {}
    ledger = _Ledger()
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
    except _RefusedError as refused:
        errors.append(manifest.error(refused.field, refused.reason))


def _spec(manifest: Manifest) -> LabServiceSpec:
    return cast("LabService", manifest.found).spec


def _rank(manifest: Manifest, claims: Sequence[_Claim]) -> tuple[int, bool, ObjectName]:
    """Who goes first: those that have what they want, then those that ask, the system's own."""
    asks = any(row.asked for row in claims)
    has = any(row.held for row in claims) and all(row.asked in {"", row.held} for row in claims)
    return (0 if has else 1 if asks else 2, manifest.name.namespace != "kube-system", manifest.name)


# ------------------------------------------------------------------- what a Service needs


def _claims(spec: LabServiceSpec, before: Document) -> list[_Claim]:
    _check_ports(spec.ports or ())
    if spec.type == "ExternalName":
        return []
    rows: list[_Claim] = []
    if spec.cluster_ip != "None":
        asked = {family_of(ip): ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip}
        held = _held_addresses(before)
        rows += [
            _Claim(f"spec.clusterIPs[{index}]", family, asked.get(family, ""), held.get(family, ""))
            for index, family in enumerate(families(spec))
        ]
    if spec.type in {"NodePort", "LoadBalancer"}:
        ports = _held_ports(before)
        rows += [
            _Claim(
                f"spec.ports[{index}].nodePort",
                None,
                str(row.node_port or ""),
                ports.get((row.name, row.protocol), ""),
            )
            for index, row in enumerate(spec.ports or ())
        ]
    return rows


def families(spec: LabServiceSpec) -> tuple[Family, ...]:
    """The families a Service has addresses of, its first one first. Raises for contradictions.

    Defaults as the API server's: families of the addresses asked for, else IPv4; two of
    anything mean RequireDualStack (KEP-563).
    """
    asked = tuple(family_of(ip) for ip in spec.cluster_ips or (spec.cluster_ip,) if ip)
    if spec.cluster_ip == "None":
        asked = ()
    if asked and spec.cluster_ip not in {"", (spec.cluster_ips or (spec.cluster_ip,))[0]}:
        raise _RefusedError("spec.clusterIP", "is not the first of spec.clusterIPs")
    if len(set(asked)) < len(asked):
        raise _RefusedError("spec.clusterIPs", "takes one address of each family")
    named = spec.ip_families or asked or (Family.IPV4,)
    if len(set(named)) < len(named):
        raise _RefusedError("spec.ipFamilies", "names one family twice")
    if asked != named[: len(asked)]:
        raise _RefusedError("spec.clusterIPs", "are of other families than spec.ipFamilies says")
    policy = spec.ip_family_policy or ("RequireDualStack" if len(named) > 1 else "SingleStack")
    if policy in _ANY_FAMILY:
        return (*named, *(family for family in Family if family not in named))
    if policy != "SingleStack":
        raise _RefusedError("spec.ipFamilyPolicy", f"{policy!r} is no policy")
    if len(named) > 1:
        raise _RefusedError("spec.ipFamilyPolicy", "is SingleStack, but there are two families")
    return named


def _check_ports(ports: Sequence[ServicePort]) -> None:
    names = [row.name for row in ports]
    keys = [(row.port, row.protocol) for row in ports]
    for index, row in enumerate(ports):
        if len(ports) > 1 and not row.name:
            raise _RefusedError(f"spec.ports[{index}].name", "is missing: several ports need names")
        if row.name in names[:index]:
            raise _RefusedError(f"spec.ports[{index}].name", f"{row.name} stands there twice")
        if keys[index] in keys[:index]:
            raise _RefusedError(
                f"spec.ports[{index}].port", f"{row.port}/{row.protocol} stands twice"
            )


def _held_addresses(before: Document) -> dict[Family, str]:
    ips = before.get("spec", {}).get("clusterIPs") or ()
    return {family_of(ip): ip for ip in ips if ip != "None"}


def _held_ports(before: Document) -> dict[tuple[str, str], str]:
    rows = before.get("spec", {}).get("ports") or ()
    return {
        (row.get("name", ""), row["protocol"]): str(row["nodePort"])
        for row in rows
        if row.get("nodePort")
    }


# --------------------------------------------------------------------------- who gets what


class _Ledger:
    """Who has which address and which node port. Keys are their text; they never meet."""

    def __init__(self) -> None:
        self._holder: dict[str, ObjectName] = {}
        self._given: dict[ObjectName, dict[str, str]] = {}
        self._free = {family: self._unheld(_addresses(family)) for family in Family}
        self._free_ports = self._unheld(map(str, NODE_PORTS))

    def given(self, service: ObjectName) -> Mapping[str, str]:
        """What a Service got, by field."""
        return self._given.get(service, {})

    def settle(self, service: ObjectName, claims: Sequence[_Claim]) -> None:
        """Give a Service what it asks for or holds. Raises _RefusedError, having given nothing."""
        for row in claims:
            if row.asked:
                self._check(service, row)
        for row in claims:
            value = row.asked or row.held
            if value and self._holder.get(value, service) == service:
                self._give(service, row, value)

    def fill(self, service: ObjectName, claims: Sequence[_Claim]) -> None:
        """Give a Service what is still missing: the lowest that is free."""
        for row in claims:
            if row.field not in self.given(service):
                free = next(self._free_ports if row.family is None else self._free[row.family], "")
                if not free:
                    raise _RefusedError(row.field, "cannot be given: none is free")
                self._give(service, row, free)

    def _check(self, service: ObjectName, row: _Claim) -> None:
        holder = self._holder.get(row.asked, service)
        if holder != service:
            raise _RefusedError(row.field, f"{row.asked} belongs to Service {holder}")
        if row.family is None and int(row.asked) not in NODE_PORTS:
            raise _RefusedError(
                row.field, f"{row.asked} is outside {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            )
        if row.family and ipaddress.ip_address(row.asked) not in RANGES[row.family]:
            raise _RefusedError(row.field, f"{row.asked} is outside {RANGES[row.family]}")

    def _give(self, service: ObjectName, row: _Claim, value: str) -> None:
        self._holder[value] = service
        self._given.setdefault(service, {})[row.field] = value

    def _unheld(self, values: Iterable[str]) -> Iterator[str]:
        return (value for value in values if value not in self._holder)


def _addresses(family: Family) -> Iterator[str]:
    network = RANGES[family]
    return (str(network[number]) for number in range(FIRST_FREE, network.num_addresses - 1))


# ---------------------------------------------------------------------------- as documents


def _document(manifest: Manifest, past: Past, given: Mapping[str, str]) -> Document:
    published = past.publish(manifest)
    spec = _spec(manifest)
    if spec.type == "ExternalName":
        return published
    return {**published, "spec": _addressed(spec, published.get("spec", {}), given)}


def _addressed(spec: LabServiceSpec, written: Document, given: Mapping[str, str]) -> Document:
    names = families(spec)
    ips = ["None"]
    if spec.cluster_ip != "None":
        ips = [given[f"spec.clusterIPs[{index}]"] for index in range(len(names))]
    dual = len(names) > 1
    return {
        **written,
        "type": spec.type,
        "clusterIP": ips[0],
        "clusterIPs": ips,
        "ipFamilies": [family.value for family in names],
        "ipFamilyPolicy": spec.ip_family_policy or ("RequireDualStack" if dual else "SingleStack"),
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
    return msgspec.convert(document, LabService)

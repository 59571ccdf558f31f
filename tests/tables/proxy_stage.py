"""A proxy on an nf_tables, the fake or the kernel's, and the objects that it is told of.

    stage = Stage()
    sent = stage.put(service("web", nodePort=30080), endpoints("web", 10, 11))
    sent.counts()

Endpoint N of `endpoints` is 10.244.N/250.N%250 in IPv4 and fd00:10:244::N in IPv6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podwire_core.feed.decode import decode
from podwire_core.nft.fake import Fake
from podwire_core.nft.kernel import Nft
from podwire_core.nft.objects import Key
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service, ServiceCIDR
from podwire_core.snapshot import Change, O, Snapshot
from podwire_proxy.frontend import Frontend
from podwire_proxy.options import Options
from podwire_proxy.services import TABLES, Services

HERE = "node1"
OLD, NEW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"
Document = dict[str, Any]


class Stage:
    """Objects in, transactions out."""

    def __init__(self, nft: Nft | None = None, options: Options | None = None) -> None:
        self.nft = nft or Fake()
        self.options = options
        self.owner = Owner(self.nft, TABLES)
        self.owner.adopt()
        self.snapshot = Snapshot()
        self.services = Services(HERE, dict(self.owner.in_force), options)

    def put(self, *objects: KubernetesObject) -> Transaction:
        """What is sent when these objects come, or come otherwise, in one batch."""
        return self.take([Change(type(each), each.name, each) for each in objects])

    def remove(self, *objects: KubernetesObject) -> Transaction:
        """What is sent when they go."""
        return self.take([Change(type(each), each.name, None) for each in objects])

    def take(self, changes: Sequence[Change]) -> Transaction:
        """What is sent for some changes."""
        new = [change for change in changes if self.snapshot.apply(change)]
        return self.owner.change(self.services.update(self.snapshot, new))

    def start(self, *objects: KubernetesObject) -> Transaction:
        """The first sync after a start: everything is compared with what is in force."""
        changes = [Change(type(each), each.name, each) for each in objects]
        new = [change for change in changes if self.snapshot.apply(change)]
        return self.owner.sync(self.services.update(self.snapshot, new))  # type: ignore[arg-type]  # the first answer has no None

    def again(self) -> Stage:
        """Another proxy over the same tables, which knows nothing yet."""
        return Stage(self.nft, self.options)

    @property
    def objects(self) -> list[KubernetesObject]:
        """All that it was told of."""
        return [change.new for change in self.snapshot.changes() if change.new]

    @property
    def in_force(self) -> dict[Key, str]:
        """What is believed to be in force."""
        return dict(self.owner.in_force)

    def names(self, noun: str, family: str = "ip") -> set[str]:
        """Names of all chains or sets of a family."""
        return {key[3] for key in self.owner.in_force if key[0] == family and key[2:3] == (noun,)}

    def elements(self, name: str, family: str = "ip") -> dict[str, str]:
        """Key text → value of a set's elements, without comments."""
        found = self.owner.in_force.items()
        return {
            key[4]: text.partition("\n")[0]
            for key, text in found
            if len(key) == 5 and key[0] == family and key[3] == name
        }

    def frontend(self, text: str) -> Frontend:
        """A frontend that is served, by its spelling (`10.96.0.10:80/TCP`)."""
        return next(each for each in self.services._served if str(each) == text)

    def backends(self, text: str) -> tuple[str, ...]:
        """Its backends' addresses in the order of their slots."""
        return tuple(each.address for each in self.services.backends(self.frontend(text)))


def read(kind: type[O], document: Mapping[str, Any]) -> O:
    """The document as its kind's struct."""
    found = decode(document, kind, "test")
    assert isinstance(found, kind)
    return found


def service(name: str, address: str = "10.96.0.10", created: str = OLD, **rest: Any) -> Service:
    """A Service with one port, 80. rest: fields of that port, of spec, or `labels`, `balancer`."""
    port: Document = {"port": 80}
    metadata: Document = {"name": name, "creationTimestamp": created}
    status: Document = {}
    spec: Document = {"clusterIP": address, "ports": [port]}
    for field, value in rest.items():
        if field == "labels":
            metadata["labels"] = value
        elif field == "balancer":
            status["loadBalancer"] = {"ingress": [{"ip": each} for each in value]}
        elif field in {"nodePort", "protocol", "port"}:
            port[field] = value
        else:
            spec[field] = value
    return read(Service, {"metadata": metadata, "spec": spec, "status": status})


def sticky(
    name: str, address: str = "10.96.0.10", timeout: int | None = None, **rest: Any
) -> Service:
    """The same with session affinity."""
    config: Document = (
        {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": timeout}}} if timeout else {}
    )
    return service(name, address, sessionAffinity="ClientIP", **config, **rest)


def endpoints(
    owner: str,
    *numbers: int,
    name: str = "",
    family: str = "IPv4",
    here: Sequence[int] = (),
    port: Mapping[str, Any] | None = None,
    **endpoint: Any,
) -> EndpointSlice:
    """A slice of a Service. here: those of our own node. endpoint: fields of all of them."""
    labels = {"kubernetes.io/service-name": owner}
    document = {
        "metadata": {"name": name or f"{owner}-1", "labels": labels},
        "addressType": family,
        "ports": [port or {"port": 8080, "name": ""}],
        "endpoints": [
            {
                "addresses": [pod_address(number, family)],
                "nodeName": HERE if number in here else "elsewhere",
                **endpoint,
            }
            for number in numbers
        ],
    }
    return read(EndpointSlice, document)


def pod_address(number: int, family: str = "IPv4") -> str:
    """The address of endpoint N."""
    if family == "IPv6":
        return f"fd00:10:244::{number:x}"
    return f"10.244.{number // 250}.{number % 250}"


def node(name: str = HERE, *ips: str, cidrs: Sequence[str] = (), zone: str = "") -> Node:
    """A Node: its InternalIPs, its podCIDRs, its zone."""
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    addresses = [{"type": "InternalIP", "address": each} for each in ips]
    document = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": list(cidrs)},
        "status": {"addresses": addresses},
    }
    return read(Node, document)


def service_cidr(name: str, *cidrs: str) -> ServiceCIDR:
    """What Services get addresses from."""
    return read(ServiceCIDR, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})

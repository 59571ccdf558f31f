"""Entries of maps as rows of text, each table in its own columns. Pure.

What is dialled, and whom it leads to, are named where names are known; the rest is as the programs
have it. Frontends come first: they say whose a list is, and what a counter counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from podwire_ebpf.external import Connection, Flow, Fragment, Ports
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.records import (
    Affinity,
    AffinityKey,
    Canary,
    Counter,
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Lost,
    Member,
    MemberKey,
    Peer,
    Reverse,
    ReverseKey,
    Settings,
)
from podwire_node.dump.names import Names
from podwire_node.leases.tables import age

_TCP, _UDP = 6, 17
_PROTOCOLS = {_TCP: "TCP", _UDP: "UDP"}
_ANY = {"", "0.0.0.0", "::"}
_NS = 1e9


class Entry(NamedTuple):
    """An entry of a map, decoded and as the kernel has it."""

    key: Any
    value: Any
    raw_key: bytes = b""
    raw_value: bytes = b""


class Row(NamedTuple):
    """cells: a text a column. service: namespace/name:port it belongs to, "" of none that is known.

    Where it may be either of two, of TCP and UDP, it is "a|b". addresses: those in it, to find it
    by.
    """

    cells: tuple[str, ...]
    service: str = ""
    addresses: frozenset[str] = frozenset()
    raw_key: bytes = b""
    raw_value: bytes = b""

    @property
    def services(self) -> Sequence[str]:
        """Those that it belongs to, or may."""
        return self.service.split("|")


class Moment(NamedTuple):
    """What rows are told with. monotonic: seconds, now."""

    names: Names
    monotonic: float


#: Cells, the list's or frontend's Service, addresses.
_Told = tuple[tuple[str, ...], str, Iterable[str]]


class View(NamedTuple):
    """A table's columns, and what an entry says in them; None: it says nothing.

    numbers: columns that lead from map to map, and tell a person nothing. addressed: rows have
    addresses.
    """

    columns: tuple[str, ...]
    tell: Callable[[Any, Any, Moment], _Told | None]
    numbers: frozenset[str] = frozenset()
    addressed: bool = True

    @property
    def of_services(self) -> bool:
        """Whether rows belong to Services."""
        return "Service" in self.columns


def rows_of(table: str, entries: Iterable[Entry], moment: Moment) -> list[Row]:
    """Sorted by their keys' bytes, those of one Service together."""
    found: list[Row] = []
    for each in entries:
        told = VIEWS[table].tell(each.key, each.value, moment)
        if told is not None:
            cells, service, addresses = told
            known = frozenset(filter(None, addresses))
            found.append(Row(cells, service, known, each.raw_key, each.raw_value))
    return sorted(found, key=lambda row: (row.service, row.raw_key, row.cells))


def learn(frontends: Iterable[Entry], names: Names) -> None:
    """Whose each list and counter is, by the frontends that lead there; counter 0 is nobody's."""
    for key, value, *_ in frontends:
        if label := names.service(key):
            names.lists.setdefault(value.list, label)
            if value.counter:
                names.counters.setdefault(value.counter, label)


def learn_sockets(reverse: Iterable[Entry], names: Names) -> None:
    """Which sockets are UDP's: theirs alone is a chain with a head, or an entry forward."""
    for key, *_ in reverse:
        if key.forward or not key.port:
            names.datagrams.add(key.socket)


# -------------------------------------------------------------------------------- each table


def _frontend(key: FrontendKey, value: Frontend, moment: Moment) -> _Told:
    service = moment.names.service(key)
    inline = [_end(each.address, each.port, moment) for each in value.first]
    more = value.count - len(inline)
    ends = [*inline, *([f"{more} more in endpoints"] if more > 0 else [])]
    cells = (
        dialled(key),
        key.scope.name.lower(),
        service or f"list {value.list:016x}",
        "\n".join(ends) or "none: refused",
        f"{value.affinity} s" if value.affinity else "",
        str(value.counter or ""),
        f"{value.list:016x}",
    )
    return cells, service, (key.address, *(each.address for each in value.first))


def _endpoint(key: EndpointKey, value: Endpoint, moment: Moment) -> _Told:
    service = moment.names.lists.get(key.list, "")
    cells = (_list(key.list, service), str(key.slot), _end(value.address, value.port, moment))
    return cells, service, (value.address,)


def _member(key: MemberKey, value: Member, moment: Moment) -> _Told:
    service = moment.names.lists.get(key.list, "")
    ready = "ready" if value.present == 1 else "ends, but still serves"
    cells = (_list(key.list, service), _end(key.address, key.port, moment), ready)
    return cells, service, (key.address,)


def _affinity(key: AffinityKey, value: Affinity, moment: Moment) -> _Told:
    service = moment.names.lists.get(key.list, "")
    client = moment.names.namespaces.get(key.client) if isinstance(key.client, int) else None
    cells = (
        _list(key.list, service),
        client or _client(key.client, moment),
        _end(value.address, value.port, moment),
        age(moment.monotonic - value.last / _NS),
    )
    return cells, service, (str(key.client), value.address)


def _reverse(key: ReverseKey, value: Reverse, moment: Moment) -> _Told | None:
    if key.forward or not value.port:
        return None  # said by its other half; a chain's head, or the endpoint itself was dialled
    protocols = (_UDP,) if key.socket in moment.names.datagrams else (_UDP, _TCP)
    labels = (moment.names.dialled(value.address, value.port, each) for each in protocols)
    service = "|".join(dict.fromkeys(filter(None, labels)))
    end = _end(key.address, key.port, moment) if key.port else ""
    cells = (str(key.socket), end, place(value.address, value.port), service)
    return cells, service, (key.address, value.address)


def _peer(_: int, value: Peer, moment: Moment) -> _Told | None:
    if not value.socket:
        return None  # nobody's, of an array
    service = moment.names.dialled(value.address, value.port, _TCP)
    end = _end(value.endpoint, value.endpoint_port, moment)
    cells = (str(value.socket), end, place(value.address, value.port), service)
    return cells, service, (value.endpoint, value.address)


def _address(key: str, _: Member, __: Moment) -> _Told:
    return (key,), "", (key,)


def _counter(key: int, value: Counter, moment: Moment) -> _Told | None:
    if not any(value):
        return None  # most of 65,536
    service = moment.names.counters.get(key, "")
    cells = (str(key), service, f"{value.connections:,}", f"{value.refused:,}")
    return cells, service, ()


def _settings(_: int, value: Settings, moment: Moment) -> _Told:
    flags = " ".join(flag.name or "" for flag in Flag if flag in value.flags)
    node = moment.names.namespaces.get(value.node, "")
    return (str(value.node), node, flags or "none"), "", ()


def _canary(key: int, value: Canary, moment: Moment) -> _Told:
    hooks = " ".join(hook.name for hook in HOOKS if value.hooks >> hook.attach & 1)
    who = moment.names.namespaces.get(value.namespace, "")
    return (str(key), f"{value.namespace} {who}".strip(), hooks), "", ()


def _lost(_: int, value: Lost, __: Moment) -> _Told:
    return (f"{value.events:,}",), "", ()


def _connection(key: Flow, value: Connection, moment: Moment) -> _Told:
    service = moment.names.lists.get(value.list, "")
    flags = {
        "nftables'": value.nftables,
        "masqueraded": value.masquerade,
        "answered": value.answered,
        "reset": value.reset,
        "finished": all(value.finished),
    }
    cells = (
        _end(key.source, key.source_port, moment),
        _end(key.destination, key.destination_port, moment),
        _PROTOCOLS.get(key.protocol, str(key.protocol)),
        key.way.name.lower(),
        place(value.address, value.port),
        service,
        " ".join(name for name, there in flags.items() if there),
        age(moment.monotonic - value.last / _NS),
    )
    return cells, service, (key.source, key.destination, value.address)


def _fragment(key: Fragment, value: Ports, _: Moment) -> _Told:
    protocol = _PROTOCOLS.get(key.protocol, str(key.protocol))
    ends = (place(key.source, value.source), place(key.destination, value.destination))
    return (*ends, protocol, str(key.number)), "", (key.source, key.destination)


_CONNECTION = ("From", "To", "Protocol", "Way", "Becomes", "Service", "State", "Ago")

VIEWS = {
    "frontends": View(
        ("Dialled", "Asked from", "Service", "Endpoints", "Affinity", "Counter", "List"),
        _frontend,
        numbers=frozenset({"Counter", "List"}),
    ),
    "endpoints": View(("Service", "Slot", "Endpoint"), _endpoint),
    "members": View(("Service", "Endpoint", "It is"), _member),
    "affinity": View(("Service", "Client", "Went to", "Ago"), _affinity),
    "reverse": View(("Socket", "Endpoint", "Dialled", "Service"), _reverse),
    "addresses": View(("NodePorts answer at",), _address),
    "counters": View(("Counter", "Service", "Connections", "Refused"), _counter, addressed=False),
    "settings": View(("Node's namespace", "Is", "Flags"), _settings, addressed=False),
    "canaries": View(("Socket", "Namespace", "Seen by"), _canary, addressed=False),
    "lost": View(("Events without room",), _lost, addressed=False),
    "peers": View(("Socket", "Endpoint", "Dialled", "Service"), _peer),
    "opening": View(_CONNECTION, _connection),
    "connections": View(_CONNECTION, _connection),
    "fragments": View(("From", "To", "Protocol", "Number"), _fragment),
    "insiders": View(("In the cluster",), _address),
}


# --------------------------------------------------------------------------------- in words


def dialled(key: FrontendKey) -> str:
    """10.96.0.13:80/TCP; node:30080/TCP of a NodePort, with its family where there are two."""
    protocol = _PROTOCOLS.get(key.protocol, str(key.protocol))
    family = {"0.0.0.0": " (IPv4)", "::": " (IPv6)"}.get(key.address, "")
    if key.address in _ANY:
        return f"node:{key.port}/{protocol}{family}"
    return f"{place(key.address, key.port)}/{protocol}"


def place(address: str, port: int) -> str:
    """10.96.0.13:80, [fd00::5]:80."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _end(address: str, port: int, moment: Moment) -> str:
    pod = moment.names.pods.get(address, "")
    return f"{place(address, port)} {pod}".strip()


def _client(client: str | int, moment: Moment) -> str:
    if isinstance(client, int):
        return f"namespace {client}"
    pod = moment.names.pods.get(client, "")
    return f"{client} {pod}".strip()


def _list(number: int, service: str) -> str:
    return service or f"list {number:016x}"


def columns(table: str) -> Sequence[str]:
    """A table's."""
    return VIEWS[table].columns

"""The hostPorts of this node's pods, as elements of our tables.

set(attachment, …), remove(attachment) ──► what changed ──► update() ──► Programmer ──► kernel

Leases see to it that no two pods ask for one port. Should two do so all the same, the one whose
attachment sorts first has it, also after a restart, and `problems` names the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from podwire_cni.attachment import Attachment
from podwire_cni.ports import PortMapping
from podwire_core.claims import Claims
from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, Address, family_of, spelled
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.snapshot import Change, Snapshot
from podwire_node.host_ports.forward import Forward, forwards, why_not
from podwire_node.host_ports.skeleton import (
    HAIRPIN,
    LOCALHOST,
    TABLES,
    anywhere,
    at_address,
    skeleton,
    table,
)

_MAX_PROBLEMS = 100
Owner = tuple[str, ...]


class HostPorts:
    """Implements podwire_core.nft.desired.Desired; for one thread.

    It depends on no object: what set() and remove() change is what the next update() answers.
    """

    tables: Sequence[Table] = TABLES

    def __init__(self) -> None:
        self._objects: Claims[Owner, Key, Object] = Claims()
        self._forwards: dict[Attachment, tuple[Forward, ...]] = {}
        self._problems: dict[Attachment, tuple[ObjectError, ...]] = {}
        self._names: dict[Owner, str] = {}
        self._changed: dict[Key, Object | None] = {}
        for family in FAMILIES:
            fixed = {each.key: each for each in skeleton(family)}
            self._replace(("", family.nft), fixed)

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force."""
        return self._objects.winners

    @property
    def problems(self) -> Sequence[ObjectError]:
        """hostPorts that lead nowhere, or to another pod."""
        return (*chain.from_iterable(self._problems.values()), *self._taken())

    @property
    def attachments(self) -> frozenset[Attachment]:
        """Whose hostPorts are wanted."""
        return frozenset(self._forwards)

    @property
    def localnet_links(self) -> frozenset[str]:
        """Host ends of the pods that localhost leads to: their route_localnet must be 1.

        Not before the table is in force, whose guard keeps everyone else out.
        """
        return frozenset(
            each.host_name
            for each, served in self._forwards.items()
            if any(forward.at_localhost for forward in served)
        )

    def update(
        self, _snapshot: Snapshot, _changes: Sequence[Change]
    ) -> Mapping[Key, Object | None]:
        """See Desired.update: what changed since it was asked last."""
        changed, self._changed = self._changed, {}
        return changed

    def forwards(self, attachment: Attachment) -> Sequence[Forward]:
        """What an attachment's hostPorts come to; to be asked before remove()."""
        return self._forwards.get(attachment, ())

    def set(
        self,
        attachment: Attachment,
        addresses: Sequence[Address],
        ports: Sequence[PortMapping],
        pod: str = "",
    ) -> Mapping[Key, Object | None]:
        """Let a pod have exactly these hostPorts; answers keys whose wanted value changed.

        pod: namespace/name, which stands beside each element.
        """
        found = tuple(forwards(addresses, ports))
        name = pod or str(attachment)
        families = {family_of(spelled(each)) for each in addresses}
        bad = ((each, why_not(each, families)) for each in ports)
        problems = tuple(_problem(name, each, why) for each, why in bad if why)
        self._file(attachment, found, problems)
        owner = _owner(attachment)
        self._names[owner] = name
        wanted: dict[Key, Object] = {}
        for each in _elements(found, name):
            wanted.setdefault(each.key, each)
        return self._replace(owner, wanted)

    def remove(self, attachment: Attachment) -> Mapping[Key, Object | None]:
        """Its hostPorts are no one's; answers the same. One that has none is no error."""
        self._file(attachment, (), ())
        self._names.pop(_owner(attachment), None)
        return self._replace(_owner(attachment), {})

    def _file(
        self,
        attachment: Attachment,
        found: tuple[Forward, ...],
        problems: tuple[ObjectError, ...],
    ) -> None:
        self._forwards.pop(attachment, None)
        self._problems.pop(attachment, None)
        if found:
            self._forwards[attachment] = found
        if problems:
            self._problems[attachment] = problems

    def _replace(self, owner: Owner, wanted: Mapping[Key, Object]) -> Mapping[Key, Object | None]:
        changed = self._objects.replace(owner, wanted)
        self._changed.update(changed)
        return changed

    def _taken(self) -> Iterator[ObjectError]:
        for owner, key, holder in self._objects.lost(_MAX_PROBLEMS):
            why = f"{key[3]} {key[4]} is {self._names.get(holder, holder)}'s already"
            yield ObjectError("", f"Pod {self._names[owner]}", "hostPort", why)


def _owner(attachment: Attachment) -> Owner:
    return attachment.network, attachment.container, attachment.interface


def _problem(name: str, mapping: PortMapping, why: str) -> ObjectError:
    return ObjectError("", f"Pod {name}", f"hostPort {mapping.host_port}/{mapping.protocol}", why)


def _elements(found: Sequence[Forward], name: str) -> Iterator[Element]:
    for each in found:
        home, server = table(each.family), (each.server, str(each.server_port))
        port = str(each.port)
        if each.address:
            yield Element(home, at_address(each.protocol), (each.address, port), server, name)
        else:
            yield Element(home, anywhere(each.protocol), (port,), server, name)
        yield Element(home, HAIRPIN, (each.server, each.server), words=name)
        if each.at_localhost:
            yield Element(home, LOCALHOST, (each.server,), words=name)

"""Who has which port of the node: the hostPorts that came with leases.

A row of `ports` is one mapping, and counts as long as its owner holds an address. An older
podwire, which does not know the table, leaves rows behind whose owner has gone.
"""

from collections import defaultdict
from collections.abc import Sequence

from podwire_cni.attachment import Attachment
from podwire_cni.errors import PortTaken
from podwire_cni.lease_file import LeaseFile, Row
from podwire_cni.ports import PROTOCOLS, PortMapping

#: The condition on an owner's columns, in the order of the indices, and of `key`.
OWNED = "container = ? AND interface = ? AND network = ?"


def key(attachment: Attachment) -> tuple[str, str, str]:
    """In the order of the indices."""
    return attachment.container, attachment.interface, attachment.network


def words(attachment: Attachment) -> tuple[str, str, str]:
    """In the order of the columns."""
    return attachment.network, attachment.container, attachment.interface


class LeasePorts:
    """The table; `claim` and `give_up` within a transaction."""

    def __init__(self, file: LeaseFile) -> None:
        self._file = file

    def claim(self, attachment: Attachment, pod: str, ports: Sequence[PortMapping]) -> None:
        """Make the ports the attachment's, in place of those it had. Raises PortTaken."""
        self.give_up(attachment)
        for mapping in ports:
            self._require_free(mapping, pod)
        owner = words(attachment)
        self._file.write(
            "INSERT OR REPLACE INTO ports VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (port.protocol, port.host_port, port.host_ip, port.container_port, *owner)
                for port in ports
            ],
        )

    def give_up(self, attachment: Attachment) -> None:
        """Free the attachment's ports."""
        self._file.write(f"DELETE FROM ports WHERE {OWNED}", [key(attachment)])  # noqa: S608 - a constant

    def of(self, owner: str, values: Row) -> dict[Attachment, list[PortMapping]]:
        """The ports of the owners that meet a condition, sorted."""
        found: dict[Attachment, list[PortMapping]] = defaultdict(list)
        for network, container, interface, *row in self._file.rows(
            "SELECT network, container, interface, protocol, host_port, host_ip, container_port"  # noqa: S608 - constants
            f" FROM ports WHERE {owner} ORDER BY protocol, host_port, host_ip",
            values,
        ):
            found[Attachment(network, container, interface)].append(self._mapping(row))
        return found

    def _require_free(self, mapping: PortMapping, pod: str) -> None:
        for holder, container, *row in self._file.rows(
            "SELECT DISTINCT pod, container, protocol, host_port, host_ip, container_port"
            " FROM ports JOIN leases USING (container, interface, network)"
            " WHERE protocol = ? AND host_port = ? AND released IS NULL",
            (mapping.protocol, mapping.host_port),
        ):
            theirs = self._mapping(row)
            if mapping.collides(theirs):
                raise PortTaken(
                    f"hostPort {mapping} of {pod} is taken by {holder}",
                    f"as {theirs}, by container {container}",
                )

    def _mapping(self, row: Row) -> PortMapping:
        protocol, host_port, host_ip, container_port = row
        if protocol not in PROTOCOLS or not isinstance(host_port, int):
            raise self._file.corrupt("port", (protocol, host_port))
        return PortMapping(host_port, container_port, PROTOCOLS[protocol], host_ip)

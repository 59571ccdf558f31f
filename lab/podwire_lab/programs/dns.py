"""The cluster's DNS server: `python -m podwire_lab.programs.dns --objects DIR [--port 53]`.

    objects/ ── DirectoryFeed ──► Snapshot ──► Zone ──► respond(packet) ◄──► UDP, TCP

One process, one thread: between two packets it takes in what changed. What is asked and
answered is podwire_lab.programs.zone; this is the wire (RFC 1035; EDNS, RFC 6891; TCP, RFC 7766).
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Any, Self

import dnslib

from podwire_core.errors import FeedError
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.snapshot import Snapshot
from podwire_lab.programs.echo import Address, Conversation, Server, end, tell_ready
from podwire_lab.programs.zone import ORIGIN, Answer, Record, Type, Zone, answer
from podwire_lab.workloads import LAB_KINDS, LabEndpointSlice, LabPod, LabService

TTL = 5
#: An answer this long passes every link without fragments (DNS flag day 2020).
MAX_DATAGRAM = 1232
PLAIN_DATAGRAM = 512
MAX_MESSAGE = 65535

KINDS = {
    key: kind for key, kind in LAB_KINDS.items() if kind in {LabService, LabEndpointSlice, LabPod}
}

log = logging.getLogger("podwire.lab.dns")


# ------------------------------------------------------------------------ one message, pure


def respond(packet: bytes, zone: Zone, *, stream: bool = False) -> bytes | None:
    """The message that answers a message; None for what must not be answered.

    Over UDP (`stream` false) an answer that is too long is left out and TC tells to ask by TCP.
    """
    try:
        request = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, ValueError, IndexError, TypeError):
        return _malformed(packet)
    if request.header.qr:
        return None
    reply = request.reply(ra=1, aa=1)
    reply.header.ad = 0  # nothing here is signed; dig asks with it set
    if request.header.opcode != dnslib.OPCODE.QUERY:
        reply.header.rcode = dnslib.RCODE.NOTIMP
    elif len(request.questions) != 1:
        reply.header.rcode = dnslib.RCODE.FORMERR
    elif request.q.qclass != dnslib.CLASS.IN:
        reply.header.rcode = dnslib.RCODE.REFUSED
    else:
        _fill(reply, request.q, zone)
    limit = _limit(request, reply)
    message = bytes(reply.pack())
    if len(message) > (MAX_MESSAGE if stream else limit):
        message = bytes(reply.truncate().pack())
    return message


def _malformed(packet: bytes) -> bytes | None:
    """FORMERR for what has at least a query's header."""
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    header = dnslib.DNSHeader(
        id=int.from_bytes(packet[:2], "big"), qr=1, rcode=dnslib.RCODE.FORMERR
    )
    return bytes(dnslib.DNSRecord(header).pack())


def _limit(request: Any, reply: Any) -> int:
    """How long a datagram the client takes; a client that speaks EDNS hears it back."""
    options = [row for row in request.ar if row.rtype == dnslib.QTYPE.OPT]
    if not options:
        return PLAIN_DATAGRAM
    reply.add_ar(dnslib.EDNS0(udp_len=MAX_DATAGRAM))
    return int(min(MAX_DATAGRAM, max(PLAIN_DATAGRAM, options[0].rclass)))


def _fill(reply: Any, question: Any, zone: Zone) -> None:
    asked = str(question.qname).removesuffix(".")
    kind = dnslib.QTYPE.get(question.qtype)
    found = Answer(exists=asked.lower() in zone)
    if kind == "ANY" or kind in set(Type):
        found = answer(asked.lower(), None if kind == "ANY" else Type(kind), zone)
    for row in found.records:
        reply.add_answer(_row(row, asked))
    for row in found.additional:
        reply.add_ar(_row(row, asked))
    if not found.exists:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    if not found.records:
        reply.add_auth(_start_of_authority(found.authority))


def _row(record: Record, asked: str) -> Any:
    """A record for the wire. The asked name keeps its case: some resolvers check it."""
    name = asked if record.name == asked.lower() else record.name
    kind = getattr(dnslib.QTYPE, record.type.value)
    if record.type is Type.SRV:
        data = dnslib.SRV(0, 100, record.port, record.data)
    else:
        data = dnslib.RDMAP[record.type.value](record.data)
    return dnslib.RR(name, kind, rdata=data, ttl=TTL)


def _start_of_authority(name: str) -> Any:
    """The SOA that tells how long a no may be remembered (RFC 2308)."""
    times = (1, 7200, 1800, 86400, TTL)
    data = dnslib.SOA(f"ns.dns.{ORIGIN}", f"hostmaster.{ORIGIN}", times)
    return dnslib.RR(name or ".", dnslib.QTYPE.SOA, rdata=data, ttl=TTL)


# -------------------------------------------------------------------------------- the process


class Names:
    """The zone as the folder has it now. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._feed = DirectoryFeed(folder, KINDS)
        self._snapshot = Snapshot()
        self._zone: Zone | None = None
        self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.close()

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._feed.fileno()

    def read(self) -> None:
        """Take in what changed."""
        batch = self._feed.read()
        for error in batch.errors:
            log.warning("%s", error)
        for change in batch.changes:
            self._snapshot.apply(change)
        if batch.changes:
            self._zone = None

    @property
    def zone(self) -> Zone:
        """All records. Made when someone asks: a thousand changes in a row make it once."""
        if self._zone is None:
            self._zone = Zone(self._snapshot)
        return self._zone

    def answer(self, packet: bytes, _address: Address) -> bytes | None:
        """A datagram for a datagram."""
        return respond(packet, self.zone)


class Stream(Conversation):
    """Messages over TCP, each after its length in two bytes; any number on one connection."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names
        self._received = bytearray()

    def receive(self, data: bytes) -> None:
        """Answer every whole message that has come."""
        self._received += data
        while len(self._received) >= 2:
            size = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < size:
                break
            packet = bytes(self._received[2:size])
            del self._received[:size]
            message = respond(packet, self._names.zone, stream=True)
            if message is not None:
                self.pending += len(message).to_bytes(2, "big") + message
        self.closing = not data


def serve(objects: Path, port: int, ready: int | None) -> None:
    """Serve the folder's names for ever. Raises FeedError and OSError."""
    with Names(objects) as names:
        server = Server([port], lambda _address: Stream(names), names.answer)
        server.watch(names.fileno(), names.read)
        print(f"serving the names of {objects} on port {port}", flush=True)
        tell_ready(ready)
        server.serve()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="podwire_lab.programs.dns", description="a lab's cluster DNS"
    )
    parser.add_argument("--objects", type=Path, required=True, help="folder of the lab's objects")
    parser.add_argument("--port", type=int, default=53, help="TCP and UDP (default: 53)")
    parser.add_argument("--ready-fd", type=int, help="gets a byte when it serves")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, end)
    try:
        serve(options.objects, options.port, options.ready_fd)
    except (FeedError, OSError) as error:
        sys.exit(f"podwire-lab-dns: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main()

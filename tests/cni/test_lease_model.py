"""Leases against their naive twin: dictionaries that are looked at whole, and Hypothesis' calls.

Whatever the order of calls, restarts and passing time: the same answers, the same errors.
"""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from podwire_cni.attachment import Attachment
from podwire_cni.errors import AddressesExhausted, AddressTaken, BadConfig, CniError, PortTaken
from podwire_cni.family import IPAddress
from podwire_cni.leases import Lease, Leases
from podwire_cni.ports import PortMapping
from podwire_cni.ranges import AddressRange, Use, choose

# Small, so that they are used up and used again.
SMALL = AddressRange(ipaddress.ip_network("10.0.0.0/29"))
PART = AddressRange(SMALL.network, first=ipaddress.ip_address("10.0.0.4"))
OTHER = AddressRange(ipaddress.ip_network("10.0.1.0/30"))
SIX = AddressRange(ipaddress.ip_network("fd00::/125"))
WIDE = AddressRange(ipaddress.ip_network("fd00::/64"))

containers = st.sampled_from([Attachment(net, f"c{n}", "eth0") for net in "ab" for n in range(5)])
configurations = st.sampled_from([(SMALL,), (PART,), (SMALL, SIX), (SIX, SMALL), (OTHER, WIDE)])
wishes = st.lists(
    st.sampled_from([ipaddress.ip_address(f"10.0.0.{n}") for n in range(8)]), max_size=1
)
mappings = st.lists(
    st.builds(
        PortMapping,
        st.integers(1, 2),
        st.just(80),
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from(["", "0.0.0.0", "::", "192.0.2.1"]),
    ),
    max_size=1,
)


@dataclass
class Twin(Use):
    """Every address and port in a dictionary; released rows stay."""

    held: dict[IPAddress, Attachment] = field(default_factory=dict)
    released: dict[IPAddress, float] = field(default_factory=dict)
    ports: dict[Attachment, list[PortMapping]] = field(default_factory=dict)

    def vacant(self, address: IPAddress, released_before: float) -> bool:
        never = float("-inf")
        return address not in self.held and self.released.get(address, never) <= released_before

    def unused(self, range_: AddressRange, among: int) -> IPAddress | None:
        known = self.held.keys() | self.released.keys()
        end = range_.first_offset + min(among, range_.capacity)
        offsets = range(range_.first_offset, end)
        return next((one for one in map(range_.address, offsets) if one not in known), None)

    def longest_released(self, range_: AddressRange) -> IPAddress | None:
        inside = filter(range_.offers, self.released)
        return min(inside, key=lambda address: (self.released[address], str(address)), default=None)

    def overlooked(self, range_: AddressRange) -> IPAddress | None:  # noqa: ARG002 - as in Use
        return None

    def of(self, attachment: Attachment) -> set[IPAddress]:
        return {address for address, owner in self.held.items() if owner == attachment}

    def give_back(self, attachment: Attachment, now: float) -> None:
        for address in self.of(attachment):
            del self.held[address]
            self.released[address] = now
        self.ports.pop(attachment, None)

    def acquire(
        self,
        attachment: Attachment,
        ranges: tuple[AddressRange, ...],
        wanted: list[IPAddress],
        ports: list[PortMapping],
        now: float,
    ) -> type[CniError] | None:
        """Do what an ADD does, or tell which error it meets and change nothing."""
        before = (dict(self.held), dict(self.released), dict(self.ports))
        error = self._acquire(attachment, ranges, wanted, ports, now)
        if error:
            self.held, self.released, self.ports = before
        return error

    def _acquire(
        self,
        attachment: Attachment,
        ranges: tuple[AddressRange, ...],
        wanted: list[IPAddress],
        ports: list[PortMapping],
        now: float,
    ) -> type[CniError] | None:
        if not all(any(range_.offers(one) for range_ in ranges) for one in wanted):
            return BadConfig
        held = self.of(attachment)
        fits = len(held) == len(ranges) and all(any(map(r.offers, held)) for r in ranges)
        if not (fits and set(wanted) <= held):
            self.give_back(attachment, now)
            if error := self._choose(attachment, ranges, wanted, now):
                return error
        self.ports.pop(attachment, None)
        theirs = [mapping for owned in self.ports.values() for mapping in owned]
        if any(mine.collides(other) for mine in ports for other in theirs):
            return PortTaken
        self.ports[attachment] = ports
        return None

    def _choose(
        self,
        attachment: Attachment,
        ranges: tuple[AddressRange, ...],
        wanted: list[IPAddress],
        now: float,
    ) -> type[CniError] | None:
        companion: IPAddress | None = None
        for range_ in sorted(ranges, key=lambda range_: range_.family.number):
            asked = next(filter(range_.offers, wanted), None)
            if asked in self.held:
                return AddressTaken
            address = asked or choose(range_, self, now - COOLDOWN, companion)
            if address is None:
                return AddressesExhausted
            companion = companion or address
            self._take(address, attachment)
        return None

    def _take(self, address: IPAddress, attachment: Attachment) -> None:
        self.released.pop(address, None)
        self.held[address] = attachment


COOLDOWN = 30


class LeasesMachine(RuleBasedStateMachine):
    """Calls in any order, the file opened again between them at will."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="podwire-leases-"))
        self.now = 1000.0
        self.boot = 1
        self.twin = Twin()
        self.leases = self._open()

    def _open(self) -> Leases:
        return Leases(self.directory, f"boot {self.boot}", clock=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "leases"):
            self.leases.__exit__(None, None, None)
            shutil.rmtree(self.directory)

    @rule(who=containers, ranges=configurations, wanted=wishes, ports=mappings)
    def acquire(
        self,
        who: Attachment,
        ranges: tuple[AddressRange, ...],
        wanted: list[IPAddress],
        ports: list[PortMapping],
    ) -> None:
        expected = self.twin.acquire(who, ranges, wanted, ports, self.now)
        try:
            lease = self.leases.acquire(
                who, "default/web", ranges, COOLDOWN, wanted=wanted, ports=ports
            )
        except CniError as error:
            assert type(error) is expected  # noqa: PT017 - either outcome is compared
        else:
            assert expected is None
            assert set(lease.addresses) == self.twin.of(who)
            assert set(wanted) <= set(lease.addresses)
            assert [range_.offers(one) for range_, one in zip(ranges, lease.addresses, strict=True)]

    @rule(who=containers)
    def release(self, who: Attachment) -> None:
        assert set(self.leases.release(who)) == self.twin.of(who)
        self.twin.give_back(who, self.now)

    @rule(seconds=st.sampled_from([1, 29, 30]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.leases.__exit__(None, None, None)
        self.leases = self._open()

    @rule()
    def reboot(self) -> None:
        self.boot += 1
        self.twin = Twin()
        self.restart()

    @invariant()
    def same_leases(self) -> None:
        if not hasattr(self, "leases"):
            return
        found = {lease.attachment: lease for lease in self.leases.all()}
        assert found.keys() == set(self.twin.held.values())
        assert all(self._same(lease) for lease in found.values())
        assert dict(self.leases.resting()) == self.twin.released

    def _same(self, lease: Lease) -> bool:
        ports = self.twin.ports.get(lease.attachment, [])
        return (set(lease.addresses), list(lease.ports)) == (self.twin.of(lease.attachment), ports)


LeasesMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLeases = LeasesMachine.TestCase

"""The programs for traffic from outside, at the links that lead there.

    attach("eth0", programs)    both filters in the link's clsact, which is made where it is missing
    attached("eth0")            which programs are there, ours or none
    detach("eth0")              ours go; the clsact goes with the last filter
    remove()                    the same at every link

* A filter of ours has preference and handle 112 (as our routes have that protocol) and a name that
  begins with pw_, on each side one: putting it again replaces it between two packets, and nothing
  is ever there twice.
* What has a smaller preference and takes a packet, takes it from us: nftables serves it then.
* Filters live with their link, not with the agent. A link that comes again has none: attach again.
* A link's own `ingress` qdisc, the older kind, leaves no room for a clsact: that is an error.
* All happens in the network namespace of the calling thread.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from podwire_ebpf import filters, syscall
from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.external import BARE, ETHERNET, Programs
from podwire_ebpf.filters import Filter, Side
from podwire_ebpf.hooks import PREFIX

PREFERENCE = HANDLE = 112

_SIOCGIFHWADDR = 0x8927  # linux/sockios.h
_WITH_HEADER = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK (linux/if_arp.h)
_WITHOUT = frozenset({0xFFFE, 519})  # ARPHRD_NONE, ARPHRD_RAWIP


class Attached(NamedTuple):
    """Ids of the programs of ours at a link; 0: none."""

    ingress: int
    egress: int

    @property
    def whole(self) -> bool:
        """Both are there."""
        return bool(self.ingress and self.egress)


def programs_of(link: str) -> Programs:
    """The names of the programs that a link needs. Raises Unsupported for a kind we cannot read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("16s16x8x", link.encode()[:15])
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFHWADDR, request)
        except OSError as error:
            raise _missing(link, error) from None
    (kind,) = struct.unpack_from("=H", answer, 16)
    if kind in _WITH_HEADER:
        return ETHERNET
    if kind in _WITHOUT:
        return BARE
    reason = f"link {link} is of type {kind}, whose packets the eBPF programs cannot read"
    raise Unsupported(f"{reason}: nftables serves what comes in there")


def attach(link: str, programs: Mapping[str, int]) -> bool:
    """Put both programs at a link; False where they are there already.

    programs: descriptors by the names of `external.Programs`. Raises BpfError.
    """
    names, index = programs_of(link), _index(link)
    wanted = {Side.EGRESS: programs[names.egress], Side.INGRESS: programs[names.ingress]}
    changed = False
    try:
        filters.add_qdisc(index)
        # Replies first: no connection begins before its answers would be translated.
        for side, descriptor in wanted.items():
            changed |= _put(index, side, descriptor)
    except OSError as error:
        raise _refused(link, error) from None
    return changed


def attached(link: str) -> Attached:
    """What is there. Raises BpfError where the link is not."""
    index = _index(link)
    try:
        return Attached(*(_program(index, side) for side in Side))
    except OSError as error:
        raise _refused(link, error) from None


def detach(link: str) -> bool:
    """Take our filters away, if they are there; others' stay. Whether there were any."""
    try:
        index = socket.if_nametoindex(link)
    except OSError:
        return False
    try:
        ours = [each for side in Side if (each := _ours(index, side))]
        # New connections end first, and those that are open a moment later.
        for each in ours:
            filters.remove_filter(index, each)
        if ours and not any(filters.all_filters(index, side) for side in Side):
            filters.remove_qdisc(index)
    except OSError as error:
        if not filters.is_absent(error):
            raise _refused(link, error) from None
        return False
    return bool(ours)


def remove() -> list[str]:
    """Take them from every link; the names of those that had any."""
    return [name for _, name in socket.if_nameindex() if detach(name)]


def _put(index: int, side: Side, descriptor: int) -> bool:
    program = syscall.program_info(descriptor)
    if _program(index, side) == program.id:
        return False
    filters.put_filter(
        index, Filter(side, PREFERENCE, HANDLE, program.id, program.name), descriptor
    )
    return True


def _ours(index: int, side: Side) -> Filter | None:
    place = (PREFERENCE, HANDLE)
    found: list[Filter] = []
    with suppress(FileNotFoundError):
        found = [each for each in filters.all_filters(index, side) if each]
    named = (each for each in found if each.name.startswith(PREFIX))
    return next((each for each in named if (each.preference, each.handle) == place), None)


def _program(index: int, side: Side) -> int:
    there = _ours(index, side)
    return there.program if there else 0


def _index(link: str) -> int:
    try:
        return socket.if_nametoindex(link)
    except OSError as error:
        raise _missing(link, error) from None


def _missing(link: str, error: OSError) -> BpfError:
    return BpfError(f"link {link} cannot be used for traffic from outside: {error.strerror}")


def _refused(link: str, error: OSError) -> BpfError:
    if error.errno == errno.EEXIST:
        return Unsupported(
            f"link {link} has an ingress qdisc of another's, beside which no clsact fits: "
            f"remove it (tc qdisc del dev {link} ingress), or turn ebpfExternal off"
        )
    if error.errno == errno.ENOENT:
        return Unsupported("the kernel has no sch_clsact or cls_bpf: load sch_ingress and cls_bpf")
    return BpfError(f"the kernel refuses a filter of link {link}: {error.strerror}")

"""IP families as values, and addresses in their one canonical spelling."""

from __future__ import annotations

import ipaddress
import socket
from enum import StrEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Family(StrEnum):
    """An IP family, spelled as Kubernetes spells it in ipFamilies and addressType."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def nft(self) -> str:
        """nft's word for the family: of tables ("table ip6 …") and of fields ("ip6 saddr")."""
        return "ip" if self is Family.IPV4 else "ip6"

    @property
    def bits(self) -> int:
        """Length of an address in bits, which is also the prefix length of one host."""
        return 32 if self is Family.IPV4 else 128

    @property
    def everything(self) -> str:
        """The network that holds every address of the family."""
        return "0.0.0.0/0" if self is Family.IPV4 else "::/0"


FAMILIES = tuple(Family)


def _without_leading_zeros(text: str) -> str:
    """Old API objects may say 010.001.2.3, which Kubernetes reads as decimal (KEP-4858)."""
    address, slash, length = text.partition("/")
    octets = address.split(".")
    if len(octets) == 4 and all(octet.isascii() and octet.isdigit() for octet in octets):
        address = ".".join(str(int(octet)) for octet in octets if len(octet) <= 4)
    return f"{address}{slash}{int(length) if length.isascii() and length.isdigit() else length}"


def spelled(value: Address | Network) -> str:
    """An address, or a network with its prefix length, as nft and iproute2 list it.

    Both print with inet_ntop(3), whose IPv6 spelling is ipaddress' but for the addresses that
    embed an IPv4 one: ::102:304 is ::1.2.3.4 to them, and ::ffff:102:304 is ::ffff:1.2.3.4.
    """
    if isinstance(value, Network):
        return f"{spelled(value.network_address)}/{value.prefixlen}"
    version = socket.AF_INET if value.version == 4 else socket.AF_INET6
    return socket.inet_ntop(version, value.packed)


def canonical_address(text: str) -> str:
    """An address in its canonical spelling: "FD00::0:1" becomes "fd00::1".

    Raises ValueError for anything else than one IPv4 or IPv6 address; zone suffixes are
    refused, because no Service or pod address may carry one.
    """
    try:  # 20 times as fast as ipaddress, and it takes nothing that ipaddress does not
        version = socket.AF_INET6 if ":" in text else socket.AF_INET
        return socket.inet_ntop(version, socket.inet_pton(version, text))
    except (OSError, ValueError):  # leading zeros, a zone, or no address: ValueError holds a NUL
        return _canonical_by_the_book(text)


def _canonical_by_the_book(text: str) -> str:
    address = ipaddress.ip_address(_without_leading_zeros(text))
    if getattr(address, "scope_id", None):
        message = f"{text!r} carries a zone"
        raise ValueError(message)
    return spelled(address)


def canonical_network(text: str) -> str:
    """A CIDR in its canonical spelling with host bits cleared: "10.0.0.7/8" → "10.0.0.0/8".

    Raises ValueError for anything else than one CIDR with a prefix length.
    """
    length = text.rpartition("/")[2]
    if "/" not in text or not (length.isascii() and length.isdigit()):  # a mask is none
        message = f"{text!r} has no prefix length"
        raise ValueError(message)
    return spelled(ipaddress.ip_network(_without_leading_zeros(text), strict=False))


def family_of(address: str) -> Family:
    """The family of a canonical address or network."""
    return Family.IPV6 if ":" in address else Family.IPV4


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine itself, so that what it is sent never leaves it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

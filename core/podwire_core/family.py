"""IP families as values, and addresses in their one canonical spelling."""

from __future__ import annotations

import ipaddress
from enum import StrEnum


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


def canonical_address(text: str) -> str:
    """An address in its canonical spelling: "FD00::0:1" becomes "fd00::1".

    Raises ValueError for anything else than one IPv4 or IPv6 address; zone suffixes are
    refused, because no Service or pod address may carry one.
    """
    address = ipaddress.ip_address(_without_leading_zeros(text))
    if getattr(address, "scope_id", None):
        message = f"{text!r} carries a zone"
        raise ValueError(message)
    return str(address)


def canonical_network(text: str) -> str:
    """A CIDR in its canonical spelling with host bits cleared: "10.0.0.7/8" → "10.0.0.0/8".

    Raises ValueError for anything else than one CIDR with a prefix length.
    """
    if "/" not in text:
        message = f"{text!r} has no prefix length"
        raise ValueError(message)
    return str(ipaddress.ip_network(_without_leading_zeros(text), strict=False))


def family_of(address: str) -> Family:
    """The family of a canonical address or network."""
    return Family.IPV6 if ":" in address else Family.IPV4

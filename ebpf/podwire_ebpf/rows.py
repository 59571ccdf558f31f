"""Rows of the maps that the agent writes, and a change of them.

What a change leaves out stays as it is. Nothing here knows Kubernetes, and nothing bpf(2): rows are
values of layout.py, and a plane applies them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire_ebpf.records import (
    Endpoint,
    EndpointKey,
    Frontend,
    FrontendKey,
    Member,
    MemberKey,
)


@dataclass
class Change:
    """What is to be in the maps (a value), and what not (None; of an address, False)."""

    frontends: dict[FrontendKey, Frontend | None] = field(default_factory=dict)
    endpoints: dict[EndpointKey, Endpoint | None] = field(default_factory=dict)
    members: dict[MemberKey, Member | None] = field(default_factory=dict)
    addresses: dict[str, bool] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many rows it names."""
        return len(self.frontends) + len(self.endpoints) + len(self.members) + len(self.addresses)

    def __bool__(self) -> bool:
        return self.size > 0

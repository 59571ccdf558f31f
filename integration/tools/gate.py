"""TCP and UDP that come to a node's policies, and that pass, counted for each pair of addresses.

```
 forward   -5 came     0 podwire-policy     5 passed
```

What came and did not pass was dropped there. A packet that a busy machine loses elsewhere, in the
backlog of a link say, is counted by both or by none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from scratch import Netns, until

_PLACES = {"came": -5, "passed": 5}
_FAMILIES = {"ip": ("pairs4", "ipv4_addr"), "ip6": ("pairs6", "ipv6_addr")}


@dataclass(frozen=True)
class Gate:
    """Of a node's namespace."""

    netns: Netns

    def __post_init__(self) -> None:
        for place, priority in _PLACES.items():
            self.netns.run("nft", _table(place, priority))

    def came(self, source: str, destination: str) -> int:
        """How many packets came so far."""
        return self._counted("came", source, destination)

    def passed(self, source: str, destination: str) -> int:
        """How many packets passed so far."""
        return self._counted("passed", source, destination)

    def dropped(self, source: str, destination: str) -> int:
        """How many were dropped so far; one that is on its way counts as dropped."""
        passed = self.passed(source, destination)
        return self.came(source, destination) - passed

    def none_dropped(self, source: str, destination: str, since: int = 0) -> bool:
        """Whether no more were dropped than `since`; fails if there were."""
        until(
            f"all packets from {source} to {destination} pass",
            lambda: self.dropped(source, destination) == since,
        )
        return True

    def _counted(self, place: str, source: str, destination: str) -> int:
        pairs, _ = _FAMILIES["ip6" if ":" in source else "ip"]
        listed = self.netns.run("nft", "--json", "list", "set", "inet", f"gate-{place}", pairs)
        (found,) = [each["set"] for each in json.loads(listed)["nftables"] if "set" in each]
        for row in found.get("elem", ()):
            if row["elem"]["val"]["concat"] == [source, destination]:
                return int(row["elem"]["counter"]["packets"])
        return 0


def _table(place: str, priority: int) -> str:
    sets, rules = "", ""
    for family, (pairs, kind) in _FAMILIES.items():
        sets += f"set {pairs} {{ type {kind} . {kind}; size 4096; flags dynamic; counter; }}\n"
        rules += (
            f"meta l4proto {{ tcp, udp }} update @{pairs} {{ {family} saddr . {family} daddr }}\n"
        )
    hook = f"type filter hook forward priority {priority};"
    return f"table inet gate-{place} {{\n{sets}chain forward {{ {hook}\n{rules}}}\n}}"

"""What the kernel must allow before 127.0.0.1 leads to a pod: route_localnet of its host end.

No packet with an address of 127.0.0.0/8 goes through a link otherwise: not the node's own request,
which is masqueraded after it was routed, and not the pod's answer, which gets its address back
before it is. The table's guard keeps out what does not belong (skeleton.py), so it is written
after the table is in force, and taken back before the table goes.

It is a parameter of one link, and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from podwire_cni.attachment import is_host_name

_LINKS = Path("/proc/sys/net/ipv4/conf")
_PARAMETER = "route_localnet"


def route_localhost(link: str, *, allowed: bool = True, links: Path = _LINKS) -> bool:
    """Allow it on a host end; answers whether there is such a link. Raises OSError otherwise."""
    path = links / link / _PARAMETER
    try:
        if (path.read_text().strip() != "0") != allowed:
            path.write_text(str(int(allowed)))
    except FileNotFoundError:
        return False
    return True


def links_that_route_localhost(links: Path = _LINKS) -> Iterator[str]:
    """Host ends of ours where it is allowed now."""
    for path in sorted(links.glob(f"*/{_PARAMETER}")):
        name = path.parent.name
        try:
            if is_host_name(name) and path.read_text().strip() != "0":
                yield name
        except OSError:  # it went meanwhile
            continue

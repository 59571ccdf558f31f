"""A control plane from nothing to serving, in two steps between which others can work.

certificates ─► etcd, API server … ready ─► controllers, mirror; roles, the cluster's DNS
"""

from __future__ import annotations

from collections.abc import Mapping

from podwire_core.errors import PodwireError
from podwire_lab.control.system import SYSTEM
from podwire_lab.kubernetes import applying, credentials, plane
from podwire_lab.kubernetes.access import AGENT_ACCESS
from podwire_lab.kubernetes.applying import Sourced
from podwire_lab.machine import daemons
from podwire_lab.topology import Lab

_OURS = "the lab itself"


class NotTaken(PodwireError):  # noqa: N818 - a state of the lab
    """The API server refuses what every lab begins with; the text says what and why."""


def start_servers(lab: Lab) -> dict[str, int]:
    """Make the certificates, start etcd and the API server; process ids by name.

    Raises ProgramsMissing, OSError.
    """
    credentials.write(lab)
    return plane.start(lab, plane.SERVERS)


def finish(lab: Lab, started: Mapping[str, int]) -> dict[str, int]:
    """Wait for the API server, start what stands on it; process ids of all by name.

    Raises plane.PlaneFailed, NotTaken, applying.Unreachable, OSError.
    """
    plane.wait_until_served(lab, started)
    others = plane.start(lab, plane.CONTROLLERS)
    system = [each.document for each in SYSTEM]
    taken = applying.apply(lab, [Sourced(_OURS, each) for each in (*AGENT_ACCESS, *system)])
    if taken.errors:
        raise NotTaken("\n".join(map(str, taken.errors)))
    return {**started, **others, plane.MIRROR: daemons.start_mirror(lab)}

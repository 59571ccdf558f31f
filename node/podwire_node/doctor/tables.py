"""Our nftables tables, each asked for by its name; nobody else's is listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from podwire_core.errors import NftError
from podwire_core.family import FAMILIES
from podwire_core.nft import netlink
from podwire_core.nft.netlink import Absent, Questions
from podwire_node.doctor.finding import Finding, Patient, fail, ok
from podwire_node.settings.values import Component

#: By the component whose they are. Table podwire-host-ports is there only with a CNI socket.
NAMES = {
    Component.POLICY: ("podwire-policy",),
    Component.CNI: ("podwire-guard", "podwire-masquerade"),
    Component.PROXY: ("podwire-proxy",),
}
_TABLE_NAME = 1  # NFTA_TABLE_NAME


def tables(patient: Patient) -> Finding:
    """Whether they are there, in both families."""
    wanted = [name for component in patient.components for name in NAMES.get(component, ())]
    try:
        missing = list(_missing(wanted))
    except NftError as error:
        return fail(str(error), "run as root, in the node's network namespace")
    if missing:
        return fail(
            f"{', '.join(missing)} not there",
            "nobody has served this network namespace yet, or somebody flushed the ruleset: start "
            "the agent, and look at its problems",
        )
    return ok(", ".join(wanted))


def _missing(names: list[str]) -> Iterator[str]:
    with closing(Questions()) as questions:
        for name in names:
            for family in FAMILIES:
                try:
                    questions.one(netlink.GETTABLE, family.nft, netlink.name(_TABLE_NAME, name))
                except Absent:
                    yield f"{family.nft} {name}"

"""What an audit finds now, as rows for `podwire leases --check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from podwire_cni.host import ALONE
from podwire_node.cni.audit.comparison import find
from podwire_node.cni.audit.findings import FREEING, Finding
from podwire_node.cni.audit.ground import Place, on_the_ground
from podwire_node.cni.audit.remembered import FOLDER


class Row(msgspec.Struct, frozen=True):
    """A difference as people and scripts read it.

    kind: see findings.  subject: a link or an address.  pod: namespace/name, "" where nobody
    knows.  repair: what the agent does about it.
    """

    kind: str
    subject: str
    pod: str
    sentence: str
    repair: str


def check(state_dir: Path, ranges: Sequence[str] = (), results: Path = FOLDER) -> list[Row]:
    """Compare leases, links and routes of the calling thread's network namespace; changes nothing.

    ranges: CIDRs that pods' addresses come from, such as the Node's podCIDRs.  Two looks have to
    agree, so that a pod that comes or goes in between is none of them. Raises RepairError.
    """
    with on_the_ground(Place(state_dir, lambda: ranges, results), ALONE) as ground:
        first = find(ground.look())
        second = find(ground.look()) if first else []
    return [_row(finding) for finding in second if finding in first]


def _row(finding: Finding) -> Row:
    repair = _repair(finding)
    return Row(finding.kind.word, finding.subject, finding.pod, finding.sentence, repair)


def _repair(finding: Finding) -> str:
    patience = finding.kind.patience
    if patience is None:
        return "by hand"
    freed = patience == FREEING
    return "freed by the agent after a minute" if freed else "put right by the agent in a minute"

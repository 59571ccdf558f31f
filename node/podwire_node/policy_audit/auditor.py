"""The agent's side of `podwire policy audit`: a proposal to what it would change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from podwire_core import typed
from podwire_core.errors import ConntrackError, NftError
from podwire_core.objects import Pod
from podwire_core.snapshot import Snapshot
from podwire_node.control.errors import ControlError
from podwire_node.control.request import Request
from podwire_node.control.server import Verb
from podwire_node.control.view import View
from podwire_node.policy_audit.answer import Audit
from podwire_node.policy_audit.comparison import MAX_ROWS, compare
from podwire_node.policy_audit.connections import (
    MAX_CONNECTIONS,
    Connection,
    seen_connections,
)
from podwire_node.policy_audit.proposal import Proposal, ProposalError, proposal


class _Fields(msgspec.Struct):
    """What an audit is asked with: documents of policies, names of policies that go."""

    documents: list[dict[str, Any]] = []
    deleted: list[str] = []
    source: str = "the proposal"


def audit_verb(view: View) -> Verb:
    """Answers `audit`: fields documents, deleted, source (what errors call the documents)."""

    def audit(request: Request) -> Iterator[Mapping[str, object]]:
        try:
            asked = typed.convert(dict(request.fields), _Fields)
            proposed = proposal(asked.documents, asked.deleted, asked.source)
            found = _audited(view.node, view.now().snapshot, proposed)
        except (msgspec.ValidationError, ProposalError) as error:
            raise ControlError(str(error)) from error
        document: dict[str, object] = msgspec.to_builtins(found)
        yield document

    return audit


def _audited(node: str, snapshot: Snapshot, proposed: Proposal) -> Audit:
    after = proposed.applied_to(snapshot)
    connections, more = _seen(node, snapshot)
    found = compare(snapshot, after, sorted(connections), proposed.subjects(snapshot))
    notes = proposed.doubts(snapshot)
    if more:
        notes.append(f"only {MAX_CONNECTIONS} of the node's connections were looked at")
    if max(len(found.denied_rows), len(found.allowed_rows)) == MAX_ROWS:
        notes.append(f"rows beyond {MAX_ROWS} are left out")
    return Audit(
        node=node,
        connections=len(connections),
        newly_denied=found.newly_denied,
        newly_allowed=found.newly_allowed,
        still_allowed=found.still_allowed,
        still_denied=found.still_denied,
        denied_rows=tuple(found.denied_rows),
        allowed_rows=tuple(found.allowed_rows),
        policies=tuple(proposed.rows(snapshot)),
        notes=tuple(notes),
    )


def _seen(node: str, snapshot: Snapshot) -> tuple[set[Connection], bool]:
    pods = [ip for pod in snapshot.all(Pod) if pod.spec.node_name == node for ip in pod.ips]
    try:
        return seen_connections(pods)
    except (NftError, ConntrackError) as error:
        raise ControlError(f"the connections of this node cannot be read: {error}") from error

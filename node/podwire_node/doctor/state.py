"""What an agent says of itself: the verb `state`.

{"verb": "state"}  ─►  {"status": {…}, "asked": "auto", "backend": "nftables", "why": "…"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from podwire_core import typed
from podwire_node.control.errors import ControlError
from podwire_node.control.request import Request
from podwire_node.control.server import Verb
from podwire_node.reports.status import Status


class AgentState(msgspec.Struct, frozen=True):
    """status: as in the status file. asked: proxyMode; backend: what serves sockets of this node.

    Both are "" without component proxy. why: of nftables where ebpf was asked for. cgroup, folder:
    where the programs and their maps are.
    """

    status: Status
    asked: str = ""
    backend: str = ""
    why: str = ""
    cgroup: str = ""
    folder: str = ""


def state_verb(state: Callable[[], AgentState]) -> Verb:
    """Answers with what `state` says, in whichever thread it has to."""

    def answer(_: Request) -> Iterator[Mapping[str, object]]:
        document: dict[str, object] = msgspec.to_builtins(state())
        yield document

    return answer


def decode_state(answer: Mapping[str, object]) -> AgentState:
    """An answer's. Raises ControlError."""
    try:
        return typed.convert(answer, AgentState)
    except msgspec.ValidationError as error:
        raise ControlError(f"the agent answers in other words than ours: {error}") from error

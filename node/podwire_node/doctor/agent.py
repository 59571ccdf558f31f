"""What the agent says of itself, at its control socket."""

from __future__ import annotations

from podwire_node.doctor.finding import Finding, Patient, fail, ok, unused, warn
from podwire_node.doctor.state import AgentState

_SHOWN = 5


def answers(patient: Patient) -> Finding:
    """Whether there is one, and whether all it wants is in force."""
    state = patient.state
    if not isinstance(state, AgentState):
        if patient.agent is None or not patient.is_asked:
            return unused(str(state))
        return fail(
            str(state), "start the agent; what an earlier one put in force goes on meanwhile"
        )
    status = state.status
    seen = f"{status.node}, process {status.pid}, {', '.join(status.components)}"
    if not status.ready:
        return warn(seen, f"it is not ready yet; it waits for: {_some(status.waiting)}")
    if not status.in_sync:
        return fail(seen, "not all it wants is in the kernel: its problems are in the next row")
    return ok(seen)


def problems(patient: Patient) -> Finding:
    """What it says is wrong."""
    state = patient.state
    if not isinstance(state, AgentState):
        return unused("no agent answers")
    found = state.status.problems
    if found:
        return fail(_some(found), "each names an object and field, or what the kernel refused")
    return ok("none")


def backend(patient: Patient) -> Finding:
    """What serves sockets, where something better was asked for."""
    state = patient.state
    if not isinstance(state, AgentState):
        return unused("no agent answers")
    if not state.backend:
        return unused("component proxy is not this agent's")
    if state.why:
        return warn(
            f"{state.backend}: {state.why}",
            "nftables serves everything meanwhile; the rows below name all that programs lack",
        )
    return ok(state.backend)


def _some(texts: tuple[str, ...]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more

"""Whether the programs are reached: asked of the kernel, and tried with calls that lead nowhere."""

from __future__ import annotations

from podwire_ebpf.errors import BpfError
from podwire_ebpf.features import no_rights
from podwire_ebpf.place import no_cgroup
from podwire_ebpf.plane import prove
from podwire_ebpf.proof import Proof
from podwire_node.doctor.finding import Finding, Patient, fail, ok, unused, warn
from podwire_node.doctor.state import AgentState
from podwire_node.sockets.earlier import attached_elsewhere, is_ours

_HEALS = "the agent attaches them again within a minute; only if it does not, restart it"
_START = "start the agent, which attaches them"
_RESTART = "restart the agent, which attaches them; its problems say why it cannot"
_LEFT = "sockets go where endpoints were that day: podwire cleanup --components proxy"


def programs(patient: Patient) -> Finding:
    """Whether each hook of the cgroup runs ours, once."""
    if not patient.uses_sockets:
        return _left(patient)
    if see := _see(patient):
        return patient.lack("cannot be in effect, or looked at, before another row is well", see)
    proof = _proof(patient)
    heals = _HEALS if patient.answers else _START
    if not isinstance(proof, Proof):
        return patient.lack(str(proof), heals)
    if proof.twice:
        return fail(f"more than once: {', '.join(proof.twice)}", _RESTART)
    if proof.missing:
        return patient.lack(f"not in effect: {', '.join(proof.missing)}", heals)
    return _agreed(patient, f"{', '.join(proof.hooks)}: in effect, each once")


def ipv4(patient: Patient) -> Finding:
    """A call to 192.0.0.8."""
    return _canary(patient, "IPv4")


def ipv6(patient: Patient) -> Finding:
    """A call to 100::8."""
    return _canary(patient, "IPv6")


def _left(patient: Patient) -> Finding:
    """What earlier agents left, where there should be nothing."""
    places = [str(patient.place.folder)] if is_ours(patient.place) else []
    places += map(str, attached_elsewhere(patient.place))
    if places:
        earlier = f"an earlier agent's, which nobody keeps up to date: {', '.join(places)}"
        return warn(earlier, _LEFT)
    return unused(patient.no_sockets)


def _see(patient: Patient) -> str:
    """The row above that says why nothing can be found here."""
    if no_rights():
        return "see bpf(2)"
    return "see cgroup" if no_cgroup(patient.place) else ""


def _agreed(patient: Patient, seen: str) -> Finding:
    """Whether the agent, too, says that the programs serve: it looks once a minute."""
    state = patient.state
    if isinstance(state, AgentState) and state.backend == "nftables":
        return warn(
            f"{seen}; but the agent says that nftables serves: {state.why}",
            "it looks once a minute: only if it stays so, restart it, and see its problems",
        )
    return ok(seen)


def _canary(patient: Patient, family: str) -> Finding:
    if not patient.uses_sockets:
        return unused(patient.no_sockets)
    proof = _proof(patient)
    if not isinstance(proof, Proof):
        return unused("there are no programs to call: see programs")
    seen = proof.families.get(family)
    if seen is None:
        return unused(f"this machine has no {family}")
    if seen:
        return ok("connect() and sendto() were seen, and refused")
    if proof.missing:
        return patient.lack("a call went by unseen: not every program is in effect", "see programs")
    return patient.lack(
        "a call went by unseen: programs are attached elsewhere than where sockets are made",
        "set ebpfCgroup to the root of the cgroup2 mount that pods' processes are below; in a "
        "container that needs the host's (cgroupns)",
    )


def _proof(patient: Patient) -> Proof | BpfError:
    """Looked at once for all three rows."""
    if patient.proof is None:
        patient.proof = _proven(patient)
    return patient.proof


def _proven(patient: Patient) -> Proof | BpfError:
    if see := _see(patient):
        return BpfError(see)
    try:
        return prove(patient.place)
    except BpfError as error:
        return error

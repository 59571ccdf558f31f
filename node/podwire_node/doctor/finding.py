"""What a check finds, and whom it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from podwire_ebpf.errors import BpfError
from podwire_ebpf.place import Place, cgroup_root
from podwire_ebpf.proof import Proof
from podwire_node.control.client import AgentClient
from podwire_node.control.errors import ControlError
from podwire_node.doctor.state import AgentState, decode_state
from podwire_node.settings.values import Component
from podwire_node.sockets.earlier import is_ours


class Health(StrEnum):
    """How well a thing is. UNUSED: not asked for by the settings, so nothing is wrong."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNUSED = "not used"


class Finding(NamedTuple):
    """seen: what was looked at, and what it is like. advice: what to do, "" where all is well."""

    health: Health
    seen: str
    advice: str = ""


@dataclass
class Patient:
    """A node as its settings describe it, in the network namespace that we are in.

    agent: whom to ask; None: it answers nobody, by its settings. mode: proxyMode. cgroup, folder:
    as the settings have them. What an agent that answers says of these goes first. source: the
    settings' file. mistakes, cautions: of settings, an agent that has them does not start, or does.
    root: where /proc and /sys begin. proof: once somebody has looked whether programs are reached.
    """

    agent: AgentClient | None
    asked: tuple[Component, ...] = tuple(Component)
    mode: str = "nftables"
    cgroup: str = ""
    folder: Path = Path("/sys/fs/bpf/podwire")
    source: str = ""
    mistakes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    root: Path = field(default=Path("/"))
    proof: Proof | BpfError | None = None

    @cached_property
    def state(self) -> AgentState | ControlError:
        """What the agent says of itself, asked once; or why it says nothing."""
        if self.agent is None:
            return ControlError("controlSocket is empty: this node's agent answers nobody")
        try:
            return decode_state(self.agent.one("state"))
        except ControlError as error:
            return error

    @property
    def is_asked(self) -> bool:
        """Whether an agent with these settings answers: one of Services by nftables does not."""
        return Component.POLICY in self.asked or self.mode != "nftables"

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """What the agent does, or would do by its settings."""
        if isinstance(self.state, AgentState):
            return tuple(Component(each) for each in self.state.status.components)
        return self.asked

    @cached_property
    def place(self) -> Place:
        """Where the programs are to be; the cgroup's default is the root of cgroup2."""
        cgroup, folder = self.cgroup, str(self.folder)
        if isinstance(self.state, AgentState):
            cgroup, folder = self.state.cgroup or cgroup, self.state.folder or folder
        if not cgroup:
            cgroup = str(cgroup_root(self.root / "proc/self/mountinfo") or "/sys/fs/cgroup")
        return Place(Path(cgroup), Path(folder))

    @property
    def answers(self) -> bool:
        """Whether there is an agent that says how it is."""
        return isinstance(self.state, AgentState)

    @property
    def asked_mode(self) -> str:
        """The proxyMode that is wanted; "" where Services are nobody's task."""
        if isinstance(self.state, AgentState):
            return self.state.asked
        return self.mode if Component.PROXY in self.asked else ""

    @property
    def wants_sockets(self) -> bool:
        """Whether programs are asked for, be they there or not."""
        return self.asked_mode in {"ebpf", "auto"}

    @cached_property
    def uses_sockets(self) -> bool:
        """Whether programs should be at the sockets: an agent may have fallen back (mode auto).

        What is pinned tells that from one that has not proven its programs, or just lost some.
        """
        if not isinstance(self.state, AgentState) or self.asked_mode != "auto":
            return self.wants_sockets
        return self.state.backend == "ebpf" or is_ours(self.place)

    @property
    def no_sockets(self) -> str:
        """Why nobody needs programs here, where that is so."""
        if self.wants_sockets:
            return "nftables serves Services instead: see backend"
        if not self.asked_mode:
            return "component proxy is not this agent's"
        return "nftables serves Services" if self.answers else "proxyMode nftables asks for none"

    def lack(self, seen: str, advice: str) -> Finding:
        """What programs lack: nothing works less for it in mode auto, where nftables serves."""
        return warn(seen, advice) if self.asked_mode == "auto" else fail(seen, advice)


class Check(NamedTuple):
    """A row of the table. look: may raise OSError, which is a fail."""

    name: str
    look: Callable[[Patient], Finding]


def ok(seen: str) -> Finding:
    """All is well."""
    return Finding(Health.OK, seen)


def warn(seen: str, advice: str) -> Finding:
    """It works, and may not for long, or not for everyone."""
    return Finding(Health.WARN, seen, advice)


def fail(seen: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(Health.FAIL, seen, advice)


def unused(why: str) -> Finding:
    """Nothing of it is asked for."""
    return Finding(Health.UNUSED, why)

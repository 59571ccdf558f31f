"""flow_stage's node1 with socket programs beside its rules, as an agent has them.

    node1, its pods    dial from processes of a cgroup with the programs attached
    everyone else      as before

with stage(tmp_path) as found:
    found.program(world)                        # rules and maps, as a restarted agent would
    found.ask("c", [("tcp", "10.96.0.10", 80)])
    found.answered()                            # calls that the programs answered so far
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Lock

import bpf_place
import flow_site
import flow_stage
from flow_stage import PATIENCE, Seen, Target
from flows.places import NODE
from flows.sockets import HERE, Maps
from flows.world import World
from scratch import Netns

from podwire_core.snapshot import Change as Told
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import Flag
from podwire_lab.programs import probe
from podwire_proxy.services import Services
from podwire_proxy.sockets import Reach, Sockets


class Dialler:
    """A process of a place, in the cgroup; see dialler.py. Threads ask it one after the other."""

    def __init__(self, netns: Netns, cgroup: Path) -> None:
        program = str(Path(__file__).with_name("dialler.py"))
        folder = str(Path(probe.__file__).parent)
        self._process = netns.popen(sys.executable, "-I", "-S", program, folder, str(cgroup))
        self._asking = Lock()

    def ask(self, targets: Sequence[Target], timeout: float) -> list[tuple[str, str]]:
        assert self._process.stdin
        assert self._process.stdout
        with self._asking:
            self._process.stdin.write(json.dumps([targets, timeout]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        return [(outcome, text) for outcome, text in json.loads(line)]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Stage(flow_stage.Stage):
    """See the module. The plane is open, and attached from the first world on."""

    def __init__(self, netns: Mapping[str, Netns], plane: Plane, stack: ExitStack) -> None:
        super().__init__(netns)
        self.plane = plane
        self.sockets = Sockets()
        self._diallers: dict[str, Dialler] = {}
        for place in HERE:
            made = self._diallers[place] = Dialler(netns[place], plane.place.cgroup)
            stack.callback(made.close)
        self._cookie = 0

    def program(self, world: World) -> None:
        """Bring node1 from the world it is in to this one, as a restarted agent would."""
        flow_site.enter(world, self.netns["node"])
        self.owner.adopt()
        self.sockets = Sockets(
            Reach(
                masquerade_all=world.options.masquerade_all,
                refuses=self.plane.features.set_retval,
            )
        )
        in_force = dict(self.owner.in_force)
        self.services = Services(NODE, in_force, world.options, self.sockets)
        self.snapshot, changes = world.changes()
        self.owner.sync(self.services.update(self.snapshot, changes))  # type: ignore[arg-type]  # the first answer has no None
        self._adopt(world)
        self._settle(world)

    def change(self, *changes: Told) -> None:
        """Something happens in the cluster."""
        super().change(*changes)
        self.plane.apply(self.sockets.take())

    def ask(self, source: str, targets: Sequence[Target], timeout: float = PATIENCE) -> list[Seen]:
        """One connection from a place to each target, all at once.

        Every second one to IPv4 is a dual-stack socket's: node1's programs see no difference.
        """
        if source not in HERE or any(protocol == "sctp" for protocol, _, _ in targets):
            return super().ask(source, targets, timeout)
        answers = self._diallers[source].ask(list(_also_mapped(targets)), timeout)
        return [flow_stage.seen(*each) for each in answers]

    def answered(self) -> int:
        """Calls that the programs answered, with an endpoint or a refusal, since their start."""
        counted = self.plane.tables.counters.read().values()
        return sum(each.connections + each.refused for each in counted)

    def forget(self) -> None:
        """Let neither rules nor programs remember anyone."""
        super().forget()
        affinity = self.plane.tables.affinity
        affinity.delete(list(affinity.read()))

    @property
    def maps(self) -> Maps:
        """What decides who answers."""
        services = self.services
        return Maps(
            services._frontends.winners,
            services.nodeport_networks,
            services._cluster.service_cidrs,
            services._options,
            self.plane.features.set_retval,
        )

    def _adopt(self, world: World) -> None:
        tables = self.plane.tables
        change = self.sockets.adopt(
            tables.frontends.read().items(),
            tables.endpoints.read().items(),
            tables.members.read().items(),
        )
        wanted = set(self._answering(world))
        known = set(tables.addresses.read())
        change.addresses = dict.fromkeys(wanted - known, True)
        change.addresses |= dict.fromkeys(known - wanted, False)
        self.plane.apply(change)

    def _answering(self, world: World) -> Iterator[str]:
        """The node's addresses at which NodePorts answer, but for the loopback's."""
        networks = [ip_network(each) for each in self.services.nodeport_networks]
        for address in world.node_addresses():
            own = ip_address(address)
            if not own.is_loopback and any(own in each for each in networks):
                yield address

    def _settle(self, world: World) -> None:
        self.plane.attach()
        if not self._cookie:
            with self.netns["node"].inside():
                proof = self.plane.prove()
            assert proof.ok, proof.sentence
            assert proof.node_cookie
            self._cookie = proof.node_cookie
        flags = Flag.LOCALHOST if world.options.localhost_nodeports else Flag(0)
        self.plane.settings(self._cookie, flags)


def _also_mapped(targets: Sequence[Target]) -> Iterator[Target]:
    for number, (protocol, address, port) in enumerate(targets):
        mapped = number % 2 and ":" not in address
        yield protocol, f"::ffff:{address}" if mapped else address, port


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """A stage, gone after the block. folder: an empty one."""
    with bpf_place.place(folder) as found, flow_stage.stage() as plain, ExitStack() as stack:
        plane = open_plane(found)
        stack.callback(plane.close)
        yield Stage(plain.netns, plane, stack)

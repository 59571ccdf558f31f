"""Objects of a cluster, and the tables of both nodes that follow from them, in a stage's kernel.

enforced.become(objects)      from whatever stood there, by what differs
enforced.apply(*objects), .remove(*objects)
enforced.wanted(probes)       where the oracle lets each come out
enforced.stage.ask(probes)    where it does
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import packet_stage
from packet_site import OUTSIDE, Site
from packet_stage import Probe, Stage
from policy_model import NodeRules

from podwire_core.family import family_of
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Fate, Ruleset, Trace, trace
from podwire_core.objects import KubernetesObject, Protocol
from podwire_core.snapshot import Change, Snapshot
from podwire_policy.oracle import Judge
from podwire_policy.policies import Policies
from podwire_proxy.services import TABLES, Services

_TOLD = 3  # of a failure's probes
_PROTOCOLS = {str(each): each for each in Protocol}


class Enforced:
    """See the module."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.snapshot = Snapshot()
        self.rules: dict[str, NodeRules] = {}
        self._homes = stage.site.homes()
        self._judge: Judge | None = None
        for name in stage.site.nodes:
            with stage.netns[name].inside():
                self.rules[name] = NodeRules(name, Kernel())
            self.rules[name].owner.adopt()

    def become(self, objects: Iterable[KubernetesObject]) -> None:
        """Nothing but these objects, as a restarted agent would learn them."""
        self.snapshot, self._judge = Snapshot(objects), None
        for name, rules in self.rules.items():
            rules.policies = Policies(name)
            rules.policies.update(self.snapshot, self.snapshot.changes())
            rules.owner.sync(rules.policies.wanted)

    def apply(self, *objects: KubernetesObject) -> None:
        """These came or changed."""
        self.change([Change(type(each), each.name, each) for each in objects])

    def remove(self, *objects: KubernetesObject) -> None:
        """These went."""
        self.change([Change(type(each), each.name, None) for each in objects])

    def change(self, changes: Sequence[Change]) -> None:
        """What both nodes are told."""
        new = [each for each in changes if self.snapshot.apply(each)]
        self._judge = None
        for rules in self.rules.values():
            rules.update(self.snapshot, new)

    @property
    def judge(self) -> Judge:
        """The oracle, of the objects as they are."""
        self._judge = self._judge or Judge(self.snapshot)
        return self._judge

    def wanted(self, probes: Iterable[Probe]) -> dict[Probe, str]:
        """Where the oracle lets each come out, "" for nowhere."""
        judge = self.judge.judge
        return {
            probe: self._homes[probe.destination]
            if judge(
                probe.source, probe.destination, _PROTOCOLS[probe.protocol], probe.port
            ).allowed
            else ""
            for probe in probes
        }

    def differing(self, probes: Iterable[Probe]) -> dict[Probe, str]:
        """Probes that do not come out where the oracle says, and where they do."""
        wanted = self.wanted(probes)
        found = self.stage.ask(wanted)
        return {probe: found[probe] for probe in wanted if found[probe] != wanted[probe]}

    def traces(self, probe: Probe) -> list[Trace]:
        """The probe's way through each node that it passes, by the rules that are wanted there."""
        found = []
        site = self.stage.site
        homes = (self._homes[each] for each in (probe.source, probe.destination))
        for name in dict.fromkeys(site.node_of(home) for home in homes if home != OUTSIDE):
            own = site.nodes[name]
            packet = Packet(
                family_of(probe.source),
                probe.source,
                probe.destination,
                probe.protocol.lower(),
                probe.port,
                from_node=probe.source in own,
            )
            found += trace(Ruleset(self.rules[name].policies.wanted.values(), own), packet)
            if found[-1].fate is not Fate.ACCEPT:
                break
        return found

    def traced(self, probe: Probe) -> bool:
        """Whether the tracer lets it through."""
        return self.traces(probe)[-1].fate is Fate.ACCEPT

    def told(self, probes: Iterable[Probe]) -> str:
        """What oracle and tracer say of a few probes, for a failure to show."""
        judge = self.judge.judge
        lines = []
        for probe in list(probes)[:_TOLD]:
            judged = judge(*probe)
            lines += [str(probe), f"  egress: {judged.egress}", f"  ingress: {judged.ingress}"]
            steps = [step for each in self.traces(probe) for step in each.steps]
            lines += [f"  {step}" for step in steps]
        return "\n".join(lines)


@contextmanager
def enforced(site: Site) -> Iterator[Enforced]:
    """A stage whose nodes enforce; gone after the block."""
    with packet_stage.stage(site) as stage:
        yield Enforced(stage)


def serve(stage: Stage, objects: Iterable[KubernetesObject]) -> None:
    """The proxy's rules for these objects, on both nodes, for as long as the stage is there."""
    snapshot = Snapshot(objects)
    for name in stage.site.nodes:
        with stage.netns[name].inside():
            owner = Owner(Kernel(), TABLES)
        owner.adopt()
        services = Services(name)
        services.update(snapshot, snapshot.changes())
        owner.sync(services.wanted)

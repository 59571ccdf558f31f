"""The demo: a shop on two nodes, looked at from every side, in under a minute.

    up (without policies) ─► drawing ─► spread ─► table ─► apply policies ─► table ─► journeys
                                                                                      ─► why

Every cell of both tables is compared with the oracle; a single difference fails the demo.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from podwire_core.nft.tracer import Fate
from podwire_core.objects import ObjectName, Protocol
from podwire_core.snapshot import Snapshot
from podwire_lab import changes
from podwire_lab.lookup import find_pod
from podwire_lab.machine import cgroups, cluster, daemons, namespaces
from podwire_lab.machine.readiness import wait_until_ready
from podwire_lab.overview import Lookout, Overview
from podwire_lab.show import reachability
from podwire_lab.show.draw import draw_topology
from podwire_lab.show.journey import Leg, journey
from podwire_lab.show.reach_table import ReachTable
from podwire_lab.topology import Lab, ProxyMode
from podwire_lab.workloads import LabPod, LabService

POLICIES = "policies.yaml"
REQUESTS = 90
BAR = 40

FRONTEND, VISITOR = "deploy/frontend", "visitor"
API, DATABASE = ObjectName("shop", "api"), ObjectName("data", "database")


@dataclass
class Demo:
    """One run of the demo; `differences` is how often kernel and oracle disagreed."""

    lab: Lab
    folder: Path
    console: Console
    differences: int = 0
    started: float = field(default_factory=time.monotonic)

    def run(self) -> bool:
        """Show everything and take it down again; whether oracle and kernel always agreed."""
        try:
            self._up()
            self._draw()
            self._spread()
            self._table("Before any policy: everyone reaches everyone")
            self._apply_policies()
            self._table("After the policies: only what the shop needs")
            self._journeys()
            self._agents()
        finally:
            with self._chapter("Taking everything down"):
                removed = cluster.down(self.lab.name)
                count = len(removed.namespaces)
                self.console.print(f"removed {count} namespaces, {removed.processes} processes")
        return self._verdict()

    # ------------------------------------------------------------------------- chapters

    def _up(self) -> None:
        nodes = len(self.lab.nodes)
        with self._chapter(f"A cluster of {nodes} nodes on this machine, from plain manifests"):
            files = sorted(self.folder.glob("*.yaml"))
            raised = cluster.up(self.lab, [file for file in files if file.name != POLICIES])
            for error in raised.errors:
                self.console.print(f"[red]{escape(str(error))}[/]")
            pods, services = len(raised.overview.pods), len(raised.overview.services)
            self.console.print(f"{pods} pods and {services} Services are ready")

    def _draw(self) -> None:
        with self._chapter("What it looks like"):
            self.console.print(draw_topology(self.lab, self._snapshot(), self.console.width))

    def _spread(self) -> None:
        """Requests from one frontend to the api's one address, by who answered."""
        snapshot = self._snapshot()
        client, service = self._pod(FRONTEND), snapshot.get(LabService, API)
        address = service.cluster_ips[0] if service else ""
        with self._chapter(f"{REQUESTS} requests from a frontend to {API} at {address}:80"):
            answers = self._dial(client, [("tcp", address, 80)] * REQUESTS)
            counts = Counter(_answering_pod(line) for outcome, line in answers)
            most = max(counts.values())
            for pod, count in sorted(counts.items()):
                bar = "█" * round(BAR * count / most)
                self.console.print(f"  {pod:28} [cyan]{bar}[/] {count}")
            endpoints = {str(p.name) for p in snapshot.all(LabPod) if p.labels.get("app") == "api"}
            if set(counts) != endpoints:
                self.differences += 1
                self.console.print(f"[red]expected answers of {sorted(endpoints)}[/]")

    def _apply_policies(self) -> None:
        with self._chapter("Applying the policies everyone copies: deny by default, then allow"):
            done = changes.apply(self.lab, [self.folder / POLICIES])
            for name in done.names:
                self.console.print(f"  {name}")
            wait_until_ready(self.lab, versions=done.versions)

    def _table(self, title: str) -> None:
        with self._chapter(title):
            snapshot = self._snapshot()
            answers = reachability.ask(self.lab, snapshot)
            self.console.print(ReachTable.of(snapshot, answers))
            for told in (reachability.totals(answers), *reachability.nobody_listens(answers)):
                self.console.print(escape(told))
            for sentence in reachability.explain_differences(answers):
                self.differences += 1
                self.console.print(f"[red]{escape(sentence)}[/]")

    def _journeys(self) -> None:
        """An allowed way and a denied one; both are dialled as well, so the words are true."""
        for client, service, port in ((FRONTEND, API, 80), (VISITOR, DATABASE, 5432)):
            pod = self._pod(client)
            title = f"One packet's journey: {pod.name} → Service {service}, port {port}"
            with self._chapter(title):
                agents = reachability.as_agents_see(self.lab)
                legs = journey(agents, pod.name, service, port, sockets=self._sockets)
                self.console.print(_told(legs))
                self._check(pod, service, port, legs[-1])
            if legs[-1].end is Fate.DROP:
                self._why(pod, port, legs[-1].where)

    def _check(self, pod: LabPod, service: ObjectName, port: int, last: Leg) -> None:
        wanted = self._snapshot().get(LabService, service)
        address = wanted.cluster_ips[0] if wanted else ""
        ((outcome, _),) = self._dial(pod, [(Protocol.TCP.nft, address, port)])
        expected = {Fate.ACCEPT: "answered", Fate.DROP: "silent", Fate.REJECT: "refused"}
        if last.end is None or outcome != expected[last.end]:
            self.differences += 1
            self.console.print(f"[red]but a real connection was {outcome}[/]")
        else:
            self.console.print(f"[dim]a real connection, just now: {outcome}[/]")

    def _why(self, pod: LabPod, port: int, node: str) -> None:
        """What the node that dropped it says of it, as anyone can ask it."""
        words = ("observe", "--pod", str(pod.name), "--port", str(port), "--last", "1")
        with self._chapter(f"Why? podwire lab ask {node} {' '.join(words)}"):
            socket = str(daemons.agent_socket(self.lab, self.lab.node(node)))
            argv = (*daemons.podwire_argv(), *words, "--socket", socket)
            asked = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
            if "DROPPED" not in asked.stdout:
                self.differences += 1
                self.console.print(f"[red]no record of it: {escape(asked.stderr.strip())}[/]")
            for line in asked.stdout.splitlines():
                self.console.print(Padding(Text(line.strip()), (0, 0, 0, 2), expand=False))

    def _agents(self) -> None:
        with self._chapter("The agents"):
            for row in self._look().nodes:
                agent = row.agent
                self.console.print(
                    f"  {row.name}: ready {agent.ready_seconds:.2f} s after its start, "
                    f"{agent.rss_mb:.1f} MB resident"
                )

    # ------------------------------------------------------------------------ in common

    def _verdict(self) -> bool:
        seconds = time.monotonic() - self.started
        if self.differences:
            self.console.print(f"\n[bold red]{self.differences} differences[/] in {seconds:.0f} s")
        else:
            self.console.print(
                f"\n[bold green]Kernel and oracle agreed on everything[/], in {seconds:.0f} s. "
                "Try it yourself: podwire lab up examples/shop"
            )
        return self.differences == 0

    @contextmanager
    def _chapter(self, title: str) -> Iterator[None]:
        self.console.print(f"\n[bold]{escape(title)}[/]")
        with self.console.status("…"):
            yield

    def _look(self) -> Overview:
        with Lookout(self.lab) as lookout:
            return lookout.look()

    def _snapshot(self) -> Snapshot:
        with Lookout(self.lab) as lookout:
            lookout.look()
            return lookout.snapshot

    @property
    def _sockets(self) -> bool:
        """Whether connect() is answered: where auto found all it needs, too."""
        return all(row.agent.proxy_backend == ProxyMode.EBPF for row in self._look().nodes)

    def _dial(self, pod: LabPod, targets: Sequence[tuple[str, str, int]]) -> list[tuple[str, str]]:
        """Dial as the pod itself would: from its namespace, and its node's cgroup."""
        netns = namespaces.pod_netns(self.lab.name, *pod.name)
        before = cgroups.enter(self.lab, self.lab.node(pod.spec.node_name))
        return reachability.probe(netns, targets, before=before)

    def _pod(self, name: str) -> LabPod:
        return find_pod(name, self._snapshot().all(LabPod))


def _answering_pod(line: str) -> str:
    """`shop/api-…` of an echo server's `pod=shop/api-… node=… client=…`."""
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return words.get("pod", "no answer")


def _told(legs: Sequence[Leg]) -> Table:
    """A journey, a row a leg: where, and what happens there; its end in colour."""
    colour = {Fate.ACCEPT: "green", Fate.DROP: "red", Fate.REJECT: "red", None: ""}
    told = Table.grid(padding=(0, 1))
    told.add_column(justify="right", style="dim", width=4)
    told.add_column(style="bold", width=9, overflow="fold")
    told.add_column(ratio=1)
    for number, leg in enumerate(legs, 1):
        told.add_row(f"{number}.", leg.where, Text(leg.text, style=colour[leg.end]))
    return told


def run(lab: Lab, folder: Path, console: Console) -> bool:
    """Run the demo on that lab, which is not there yet. Raises what cluster.up raises."""
    return Demo(lab, folder, console).run()

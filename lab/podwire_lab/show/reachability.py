"""Who reaches whom: every pod asks every other pod, and the oracle says what should have been.

A probe runs in the source's network namespace (programs/probe.py) and dials pods' own
addresses, in both families. What differs from the oracle is asked again for some seconds,
because agents need a moment after a change; what still differs then is a difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from podwire_core.feed.directory import DirectoryFeed
from podwire_core.objects import ObjectName, Protocol
from podwire_core.snapshot import Snapshot
from podwire_lab.folders import Folders
from podwire_lab.lookup import owners_of
from podwire_lab.machine import namespaces
from podwire_lab.topology import Lab
from podwire_lab.workloads import LabPod
from podwire_policy.oracle import judge

PROBE = Path(__file__).parents[1] / "programs" / "probe.py"
SYSTEM = "kube-system"  # its pods are no echo servers
#: What a probe can dial; many kernels have no SCTP sockets, and the echo servers none.
DIALLED = (Protocol.TCP, Protocol.UDP)
AT_ONCE = 4
TIMEOUT_S = 1.0
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Question:
    """One pod dials one port at one address of another pod."""

    source: ObjectName
    destination: ObjectName
    protocol: Protocol
    port: int
    address: str


@dataclass(frozen=True)
class Answers:
    """What was asked, what happened, and what the oracle says of each question."""

    reached: Mapping[Question, bool]
    expected: Mapping[Question, bool]

    @property
    def differences(self) -> list[Question]:
        """Questions whose answer is not the oracle's."""
        return sorted(each for each in self.reached if self.reached[each] != self.expected[each])


def questions(snapshot: Snapshot) -> list[Question]:
    """Every pod to every port, protocol and address of every other pod."""
    pods = [pod for pod in snapshot.all(LabPod) if pod.ready and pod.name.namespace != SYSTEM]
    return [
        Question(source.name, other.name, port.protocol, port.container_port, address)
        for source in pods
        for other in pods
        if other.name != source.name
        for port in other.ports
        if port.protocol in DIALLED
        for address in other.ips
    ]


def ask(lab: Lab, snapshot: Snapshot, patience: float = PATIENCE_S) -> Answers:
    """Ask everything; ask again what differs from the oracle, for at most `patience` seconds."""
    asked = questions(snapshot)
    world = as_agents_see(lab)
    expected = {
        each: judge(world, each.source, each.address, each.protocol, each.port).allowed
        for each in asked
    }
    reached: dict[Question, bool] = {}
    deadline = time.monotonic() + patience
    again = asked
    while again:
        reached |= dial(lab, again)
        again = [each for each in again if reached[each] != expected[each]]
        if time.monotonic() > deadline:
            break
    return Answers(reached, expected)


def as_agents_see(lab: Lab) -> Snapshot:
    """The lab's objects, read from the folder that the agents watch. Raises FeedError."""
    with DirectoryFeed(Folders.of(lab.name).objects) as feed:
        snapshot = Snapshot()
        for change in feed.read().changes:
            snapshot.apply(change)
        return snapshot


def dial(lab: Lab, asked: Sequence[Question], timeout: float = TIMEOUT_S) -> dict[Question, bool]:
    """Ask each question once, some source pods at a time: whether it was answered."""
    by_source: dict[ObjectName, list[Question]] = {}
    for question in asked:
        by_source.setdefault(question.source, []).append(question)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = pool.map(lambda rows: _from_one_pod(lab, rows, timeout), by_source.values())
    return {question: answered for part in parts for question, answered in part.items()}


def _from_one_pod(lab: Lab, rows: Sequence[Question], timeout: float) -> dict[Question, bool]:
    netns = namespaces.pod_netns(lab.name, *rows[0].source)
    targets = [(row.protocol.nft, row.address, row.port) for row in rows]
    answers = probe(netns, targets, timeout)
    return {row: outcome == "answered" for row, (outcome, _) in zip(rows, answers, strict=True)}


def probe(
    netns: str, targets: Sequence[tuple[str, str, int]], timeout: float = TIMEOUT_S
) -> list[tuple[str, str]]:
    """Dial (protocol, address, port) targets from a namespace: (outcome, first line) of each."""
    enter = ("nsenter", f"--net={namespaces.path(netns)}")
    done = subprocess.run(
        [*enter, sys.executable, "-I", "-S", str(PROBE), "--timeout", str(timeout)],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        check=True,
        timeout=60 + timeout * len(targets),
    )
    return [(outcome, line) for outcome, line in json.loads(done.stdout)]


# ---------------------------------------------------------------------------- as a table


def table(snapshot: Snapshot, answers: Answers, title: str) -> Table:
    """Rows dial, columns answer; a cell counts the pairs of pods and addresses that talk."""
    owners = {pod.name: workload(pod) for pod in snapshot.all(LabPod)}
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in sorted(answers.reached):
        namespace, _, name = owners[question.destination].partition("/")
        column = f"{namespace}\n{name}\n{question.port}/{question.protocol}"
        cells.setdefault((owners[question.source], column), []).append(question)
    rows = sorted({row for row, _ in cells})
    columns = sorted({column for _, column in cells})
    drawn = Table(title=title, title_justify="left", title_style="bold", padding=(0, 0))
    drawn.add_column("from ↓  to →", style="bold", no_wrap=True)
    for column in columns:
        drawn.add_column(column, justify="center", overflow="fold")
    for row in rows:
        drawn.add_row(row, *(_cell(cells.get((row, column), []), answers) for column in columns))
    return drawn


def workload(pod: LabPod) -> str:
    """The workload a pod belongs to, as a person calls it: namespace/name without suffixes."""
    owners = owners_of(pod)
    return f"{pod.name.namespace}/{owners[-1].name if owners else pod.name.name}"


def _cell(asked: Sequence[Question], answers: Answers) -> Text:
    """Green when all talk, red when none does, yellow between; a difference is shown as one."""
    if not asked:
        return Text("·", style="dim")
    reached = sum(answers.reached[each] for each in asked)
    if any(answers.reached[each] != answers.expected[each] for each in asked):
        return Text(f"‼ {reached}/{len(asked)}", style="bold white on red")
    if reached == len(asked):
        return Text(f"✔ {reached}/{len(asked)}", style="green")
    mark, style = ("✘", "red") if reached == 0 else ("◐", "yellow")
    return Text(f"{mark} {reached}/{len(asked)}", style=style)


def totals(answers: Answers) -> str:
    """How much was asked, in one sentence."""
    denied = sum(not allowed for allowed in answers.expected.values())
    return (
        f"{len(answers.reached)} pairs of pods, ports and address families were dialled; "
        f"the oracle denies {denied} of them; differences: {len(answers.differences)}"
    )


def summary(answers: Answers) -> dict[str, object]:
    """The same for programs: counts, and each difference."""
    return {
        "dialled": len(answers.reached),
        "denied": sum(not allowed for allowed in answers.expected.values()),
        "differences": [
            {
                "from": str(each.source),
                "to": str(each.destination),
                "address": each.address,
                "port": each.port,
                "protocol": each.protocol.value,
                "answered": answers.reached[each],
                "allowed": answers.expected[each],
            }
            for each in answers.differences
        ],
    }


def explain_differences(answers: Answers) -> Iterable[str]:
    """Each difference as a sentence."""
    for each in answers.differences:
        did = "was answered" if answers.reached[each] else "was not answered"
        should = "allowed" if answers.expected[each] else "denied"
        where = f"{each.destination} ({each.address}) {each.port}/{each.protocol}"
        yield f"{each.source} → {where} {did}; the oracle says: {should}"

"""Who reaches whom: every pod asks every other pod, and the oracle says what should have been.

A probe runs in the source's network namespace (programs/probe.py) and dials pods' own
addresses, in both families. What differs from the oracle is asked again for some seconds,
because agents need a moment after a change; what still differs then is a difference.

    answered, accepted   reached                   silent, failed   not reached
    refused              reached: the pod's own kernel says that nobody listens there. Policies
                         here drop and say nothing, and rules that reject (Services without
                         endpoints) are never asked, because pods' addresses are no Services'.
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

from podwire_core.feed.directory import DirectoryFeed
from podwire_core.objects import ObjectName, Protocol
from podwire_core.snapshot import Snapshot
from podwire_lab.folders import Folders
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
_NAMED = 5
_REACHED = {"answered", "accepted", "refused"}
_DID = {
    "answered": "was answered",
    "accepted": "was connected",
    "refused": "was answered 'nobody listens'",
    "silent": "was not answered",
    "failed": "could not be dialled",
}


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
    """What was asked, what happened, and what the oracle says of each question.

    outcomes: in the probe's words.
    """

    outcomes: Mapping[Question, str]
    expected: Mapping[Question, bool]

    @property
    def reached(self) -> Mapping[Question, bool]:
        """Whether the pod was reached, whoever listens there."""
        return {each: outcome in _REACHED for each, outcome in self.outcomes.items()}

    @property
    def refused(self) -> list[Question]:
        """Questions that reached a pod where nobody listens."""
        return sorted(each for each, outcome in self.outcomes.items() if outcome == "refused")

    @property
    def differences(self) -> list[Question]:
        """Questions whose answer is not the oracle's."""
        reached = self.reached
        return sorted(each for each in reached if reached[each] != self.expected[each])


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
    answers = Answers(dial(lab, asked), expected)
    deadline = time.monotonic() + patience
    while (again := answers.differences) and time.monotonic() < deadline:
        answers = Answers({**answers.outcomes, **dial(lab, again)}, expected)
    return answers


def as_agents_see(lab: Lab) -> Snapshot:
    """The lab's objects, read from the folder that the agents watch. Raises FeedError."""
    with DirectoryFeed(Folders.of(lab.name).objects) as feed:
        snapshot = Snapshot()
        for change in feed.read().changes:
            snapshot.apply(change)
        return snapshot


def dial(lab: Lab, asked: Sequence[Question], timeout: float = TIMEOUT_S) -> dict[Question, str]:
    """Ask each question once, some source pods at a time: the outcomes."""
    by_source: dict[ObjectName, list[Question]] = {}
    for question in asked:
        by_source.setdefault(question.source, []).append(question)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = pool.map(lambda rows: _from_one_pod(lab, rows, timeout), by_source.values())
    return {question: outcome for part in parts for question, outcome in part.items()}


def _from_one_pod(lab: Lab, rows: Sequence[Question], timeout: float) -> dict[Question, str]:
    netns = namespaces.pod_netns(lab.name, *rows[0].source)
    targets = [(row.protocol.nft, row.address, row.port) for row in rows]
    answers = probe(netns, targets, timeout)
    return {row: outcome for row, (outcome, _) in zip(rows, answers, strict=True)}


def probe(
    netns: str,
    targets: Sequence[tuple[str, str, int]],
    timeout: float = TIMEOUT_S,
    before: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Dial (protocol, address, port) targets from a namespace: (outcome, first line) of each.

    before: words that lead into a node's cgroup (cgroups.enter), where sockets are served.
    """
    enter = (*before, "nsenter", f"--net={namespaces.path(netns)}")
    done = subprocess.run(
        [*enter, sys.executable, "-I", "-S", str(PROBE), "--timeout", str(timeout)],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        check=True,
        timeout=60 + timeout * len(targets),
    )
    return [(outcome, line) for outcome, line in json.loads(done.stdout)]


# ------------------------------------------------------------------------------ in words


def totals(answers: Answers) -> str:
    """How much was asked, in one sentence."""
    denied = sum(not allowed for allowed in answers.expected.values())
    return (
        f"{len(answers.reached)} pairs of pods, ports and address families were dialled; "
        f"the oracle denies {denied} of them; differences: {len(answers.differences)}"
    )


def nobody_listens(answers: Answers) -> Iterable[str]:
    """What was reached and has no server, a sentence; nothing where all have one."""
    if not answers.refused:
        return
    where = sorted({f"{each.destination} {each.port}/{each.protocol}" for each in answers.refused})
    more = f" and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    yield (
        f"{len(answers.refused)} of them reached a pod that answered 'nobody listens': "
        f"{', '.join(where[:_NAMED])}{more}"
    )


def summary(answers: Answers) -> dict[str, object]:
    """The same for programs: counts, and each difference."""
    return {
        "dialled": len(answers.reached),
        "denied": sum(not allowed for allowed in answers.expected.values()),
        "nobodyListens": len(answers.refused),
        "differences": [
            {
                "from": str(each.source),
                "to": str(each.destination),
                "address": each.address,
                "port": each.port,
                "protocol": each.protocol.value,
                "answered": answers.reached[each],
                "outcome": answers.outcomes[each],
                "allowed": answers.expected[each],
            }
            for each in answers.differences
        ],
    }


def explain_differences(answers: Answers) -> Iterable[str]:
    """Each difference as a sentence."""
    for each in answers.differences:
        did = _DID[answers.outcomes[each]]
        should = "allowed" if answers.expected[each] else "denied"
        where = f"{each.destination} ({each.address}) {each.port}/{each.protocol}"
        yield f"{each.source} → {where} {did}; the oracle says: {should}"

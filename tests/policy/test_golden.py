"""Lessons: objects.yaml in, ruleset.nft out, packets.txt says what becomes of packets.

A packet's line: SOURCE DESTINATION PROTOCOL PORT VERDICT, then who decided. Source and
destination are pods, or addresses. PODWIRE_REGENERATE=1 writes the rulesets anew, never the
packets: those are the promise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from policy_model import NODES, Cluster

from podwire_core.delta import Delta
from podwire_core.feed.decode import decode, kind_of
from podwire_core.feed.documents import parse_documents
from podwire_core.nft.objects import Chain
from podwire_core.nft.transaction import transaction
from podwire_core.snapshot import AGENT_KINDS

CASES = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())
assert CASES


@pytest.fixture(params=CASES, ids=lambda path: path.name)
def case(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def cluster(case: Path) -> Cluster:
    documents = parse_documents((case / "objects.yaml").read_bytes(), is_json=False)
    objects = []
    for document in documents:
        kind = kind_of(document, AGENT_KINDS)
        assert kind is not None, document
        objects.append(decode(document, kind, case.name))
    return Cluster(objects)


def test_the_ruleset_is_the_one_on_file(case: Path, cluster: Cluster) -> None:
    text = "".join(f"# node {name}\n{ruleset(cluster, name)}\n\n" for name in NODES)
    if os.environ.get("PODWIRE_REGENERATE"):
        (case / "ruleset.nft").write_text(text)
    assert text == (case / "ruleset.nft").read_text()


def test_nothing_is_anonymous(cluster: Cluster) -> None:
    """An anonymous set costs 10 times to load and 200 times to change."""
    for node in cluster.nodes.values():
        chains = (each for each in node.policies.wanted.values() if isinstance(each, Chain))
        texts = [rule.text for chain in chains for rule in chain.rules]
        assert not [text for text in texts if "{" in text.replace("update @seen {", "")]


def ruleset(cluster: Cluster, name: str) -> str:
    return str(transaction(Delta(added=cluster.nodes[name].policies.wanted)))


def test_packets_go_the_way_the_lesson_says(case: Path, cluster: Cluster) -> None:
    for source, destination, protocol, number, verdict, why in packets(case):
        way = (protocol, int(number))
        judged = cluster.judge(source, destination, *way)
        traces = cluster.traces(
            cluster.addresses(source)[0], cluster.addresses(destination)[0], *way
        )
        assert (judged.allowed, str(traces[-1].fate)) == (verdict == "accept", verdict)
        decided = [
            step.why
            for trace in traces
            for step in trace.steps
            if step.effect in {"accept", "drop", "return"}
        ]
        assert (decided or ["nobody is isolated"])[-1] == why


def packets(case: Path) -> Iterator[tuple[str, str, str, str, str, str]]:
    for line in (case / "packets.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            source, destination, protocol, number, verdict, why = line.split(maxsplit=5)
            yield source, destination, protocol, number, verdict, why

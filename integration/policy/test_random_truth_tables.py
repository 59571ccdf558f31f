"""Random clusters: oracle, tracer and kernel say the same of every pair of addresses.

Each example is a cluster. Part of it is put over the rules of the one before, as a restarted agent
would do, and the rest comes as changes, on two nodes. Then a whole truth table of real packets is
sent: nine places for pods, both nodes and a host outside, TCP, UDP and SCTP, both families. The
tracer, which is slow, is asked a few of these questions, and all on which the other two differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from enforced import Enforced, enforced
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from packet_stage import Probe
from stage_clusters import SITE, SLOTS, stage_clusters

from podwire_core.family import family_of
from podwire_core.objects import KubernetesObject

EXAMPLES = 2000
TRACED = 4  # questions an example
PROTOCOLS = ("TCP", "UDP", "SCTP")
RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    phases=set(Phase) - {Phase.explain},  # as long as shrinking, and tells what `told` does
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HOMES = SITE.homes()


def table() -> Iterator[Probe]:
    """Between pods by two ports; between a pod and whatever is none, by one."""
    for source, destination in product(HOMES, HOMES):
        ends = [HOMES[source], HOMES[destination]]
        pods = sum(end in SLOTS for end in ends)
        if ends[0] == ends[1] or not pods or family_of(source) is not family_of(destination):
            continue
        for protocol, port in product(PROTOCOLS, (80, 90)[:pods]):
            yield Probe(source, destination, protocol, port)


TABLE = tuple(table())
_SHARES = ((25, "a quarter or more"), (5, "a part"), (1, "a few"), (0, "nearly nothing"))


@pytest.fixture(scope="module")
def slots() -> Iterator[Enforced]:
    with enforced(SITE) as made:
        yield made


def from_its_own_node(slots: Enforced, probe: Probe) -> bool:
    """To an address of nobody, of which the objects do not say on which node it is: it passes."""
    source, destination = HOMES[probe.source], HOMES[probe.destination]
    own = destination in SLOTS and SLOTS[destination][0] == source
    return own and slots.judge.owner(probe.destination) is None


@pytest.mark.timeout(9000)
@RANDOM
@given(
    objects=stage_clusters(),
    first=st.integers(0, 30),
    asked=st.lists(st.sampled_from(TABLE), max_size=TRACED),
)
def test_the_kernel_and_the_tracer_say_what_the_oracle_says(
    slots: Enforced, objects: list[KubernetesObject], first: int, asked: list[Probe]
) -> None:
    slots.become(objects[:first])
    slots.apply(*objects[first:])
    wanted = slots.wanted(each for each in TABLE if not from_its_own_node(slots, each))
    blocked = 100 * sum(not each for each in wanted.values()) // len(wanted)
    event("blocked: " + next(name for least, name in _SHARES if blocked >= least))
    found = slots.stage.ask(wanted)
    wrong = {probe: found[probe] for probe in wanted if found[probe] != wanted[probe]}
    assert not wrong, slots.told(wrong)
    asked = [probe for probe in asked if probe in wanted]
    assert {probe: slots.traced(probe) for probe in asked} == {
        probe: bool(wanted[probe]) for probe in asked
    }

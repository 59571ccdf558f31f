"""Pods one by one, pod by pod in turn; and many at once.

singles   ptp 1, bridge 1, … podwire 1, then bridge 2, … ptp 2, …: ADD, until all stand; then DEL
burst     ptp's, all 300; bridge's, all 300; …; whose turn is first changes with the round
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from attaching.contenders import PODWIRE_CNI, Contender
from attaching.nodes import Pod, pods
from attaching.spawning import Ran, run


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int = 5
    pods: int = 40  # in a round; 200 in all
    alone_pods: int = 10  # podwire-cni's, which takes 20 times as long
    burst_rounds: int = 3
    burst: int = 300
    alone_burst: int = 48
    width: int = 16
    both_families: int = 5
    client_calls: int = 500
    pairs: int = 10_000
    pairs_s: float = 240.0  # gives up then, and says how many it made


QUICK = Sizes(
    rounds=1,
    pods=4,
    alone_pods=2,
    burst_rounds=1,
    burst=20,
    alone_burst=4,
    both_families=1,
    client_calls=20,
    pairs=60,
)


@dataclass(frozen=True)
class Round:
    """What one contender did in one round, in their order."""

    add: Sequence[Ran]
    delete: Sequence[Ran]

    @property
    def add_s(self) -> float:
        """From the first ADD's start to the last one's end."""
        return _wall(self.add)

    @property
    def delete_s(self) -> float:
        """The same of DEL."""
        return _wall(self.delete)


_Each = TypeVar("_Each")

Rounds = Mapping[str, list[Round]]


def singles(
    spawn: Path, contenders: Sequence[Contender], counts: Sequence[int]
) -> Iterator[tuple[str, Round]]:
    """One round, one call at a time. counts: pods of each contender."""
    with ExitStack() as stack:
        made = [stack.enter_context(pods(count)) for count in counts]
        turns = list(_in_turn(contenders, made))
        added = run(spawn, [each.call("ADD", pod) for each, pod in turns])
        gone = run(spawn, [each.call("DEL", pod) for each, pod in turns])
    for contender in contenders:
        mine = [number for number, (each, _) in enumerate(turns) if each is contender]
        yield contender.name, Round([added[i] for i in mine], [gone[i] for i in mine])


def burst(spawn: Path, contender: Contender, count: int, width: int) -> Round:
    """Many pods at once come, and go."""
    with pods(count) as made:
        added = run(spawn, [contender.call("ADD", pod) for pod in made], width)
        gone = run(spawn, [contender.call("DEL", pod) for pod in made], width)
    return Round(added, gone)


def run_singles(
    spawn: Path, contenders: Sequence[Contender], sizes: Sizes, told: Callable[[object], object]
) -> Rounds:
    """All rounds, after one that warms up and is not kept."""
    counts = [_of(each, sizes.pods, sizes.alone_pods) for each in contenders]
    list(singles(spawn, contenders, [1] * len(contenders)))
    found: dict[str, list[Round]] = {each.name: [] for each in contenders}
    for number in range(sizes.rounds):
        told(f"one by one, round {number + 1}")
        for name, made in singles(spawn, contenders, counts):
            found[name].append(made)
    return found


def run_bursts(
    spawn: Path, contenders: Sequence[Contender], sizes: Sizes, told: Callable[[object], object]
) -> Rounds:
    """All rounds of many at once."""
    found: dict[str, list[Round]] = {each.name: [] for each in contenders}
    for number in range(sizes.burst_rounds):
        told(f"{sizes.burst} pods, round {number + 1}")
        for each in _rotated(contenders, number):
            count = _of(each, sizes.burst, sizes.alone_burst)
            found[each.name].append(burst(spawn, each, count, sizes.width))
    return found


def _in_turn(
    contenders: Sequence[Contender], made: Sequence[Sequence[Pod]]
) -> Iterator[tuple[Contender, Pod]]:
    """The nth pod of each, then the next one of each; whose is first changes."""
    for number in range(max(map(len, made))):
        pairs = list(zip(contenders, made, strict=True))
        for contender, mine in _rotated(pairs, number):
            if number < len(mine):
                yield contender, mine[number]


def _rotated(several: Sequence[_Each], by: int) -> list[_Each]:
    first = by % len(several)
    return [*several[first:], *several[:first]]


def _of(contender: Contender, many: int, few: int) -> int:
    return few if contender.name == PODWIRE_CNI else many


def _wall(several: Sequence[Ran]) -> float:
    return (max(each.end for each in several) - min(each.start for each in several)) / 1e9

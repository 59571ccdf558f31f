"""Which pods are to be made and which are to go, so that owners have what they ask for.

    Deployment, ReplicaSet   pods of a changed template are made at once; for each that is ready
                             an old one goes. Fewer replicas: the unready and the young go first.
    StatefulSet, DaemonSet   names stay; after a change of the template one pod at a time goes,
    Pod                      while all others are ready, and is made anew under its name.

Nothing here acts twice on one state: with what it asked for done, it asks for nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podwire_core.objects import ObjectName
from podwire_lab.control.manifests import Document, Manifest
from podwire_lab.control.past import suffix
from podwire_lab.control.scheduler import Owner, fits, owner_of
from podwire_lab.topology import Lab
from podwire_lab.workloads import DaemonSet, LabPod, Replicas, StatefulSet

REVISION_LENGTH = 6
SUFFIX_LENGTH = 5


@dataclass(frozen=True)
class NewPod:
    """A pod to be made from its owner's template; `node` binds a DaemonSet's pod."""

    name: ObjectName
    owner: Manifest
    node: str = ""


@dataclass(frozen=True)
class Rollout:
    """What has to happen."""

    new: tuple[NewPod, ...] = ()
    going: frozenset[ObjectName] = field(default_factory=frozenset)


def template_of(owner: Manifest) -> Document:
    """The document that the owner's pods are copies of."""
    if isinstance(owner.found, LabPod):
        return owner.document
    template: Document = owner.document["spec"]["template"]
    return template


def revision_of(owner: Manifest) -> str:
    """A name for the template as it stands. A Pod's labels may change while it runs."""
    template = template_of(owner)
    content = template["spec"] if isinstance(owner.found, LabPod) else template
    return suffix(REVISION_LENGTH, content)


def roll_out(owners: Iterable[Manifest], pods: Sequence[LabPod], lab: Lab) -> Rollout:
    """What is to be made and what is to go. Pods whose owner is gone go too."""
    taken = {pod.name for pod in pods}
    alive: dict[Owner, list[LabPod]] = {}
    for pod in pods:
        if not pod.terminating:
            alive.setdefault(owner_of(pod), []).append(pod)
    new: list[NewPod] = []
    going: set[ObjectName] = set()
    for owner in owners:
        mine = alive.pop((owner.name.namespace, owner.kind, owner.name.name), [])
        part = _roll_out_one(owner, mine, taken, lab)
        new += part.new
        going |= part.going
        taken |= {pod.name for pod in part.new}
    going |= {pod.name for orphans in alive.values() for pod in orphans}
    return Rollout(tuple(new), frozenset(going))


def _roll_out_one(
    owner: Manifest, mine: Sequence[LabPod], taken: set[ObjectName], lab: Lab
) -> Rollout:
    match owner.found:
        case Replicas(spec=spec):
            return _replicas(owner, spec.replicas, mine, taken)
        case StatefulSet(spec=spec):
            ordinals = {_child(owner, str(number)): "" for number in range(spec.replicas)}
            return _named(owner, ordinals, mine, taken)
        case DaemonSet(spec=spec):
            nodes = [node.name for node in lab.nodes if fits(spec.template.spec, node)]
            places = {_child(owner, _letters(owner, node)): node for node in nodes}
            return _named(owner, places, mine, taken)
        case _:
            return _named(owner, {owner.name: ""}, mine, taken)


def _replicas(
    owner: Manifest, replicas: int, mine: Sequence[LabPod], taken: set[ObjectName]
) -> Rollout:
    revision = revision_of(owner)
    fresh = [pod for pod in mine if pod.revision == revision]
    stale = [pod for pod in mine if pod.revision != revision]
    ready = sum(pod.ready for pod in fresh)
    going = _surplus(fresh, replicas) + _surplus(stale, max(0, replicas - ready))
    names = _free_names(owner, revision, replicas - len(fresh), taken)
    return Rollout(
        tuple(NewPod(name, owner) for name in names), frozenset(pod.name for pod in going)
    )


def _surplus(pods: Sequence[LabPod], keep: int) -> list[LabPod]:
    """All but `keep`: those that are ready, then the oldest, have the better right to stay."""

    def right(pod: LabPod) -> tuple[bool, str, ObjectName]:
        return (not pod.ready, pod.metadata.creation_timestamp or "", pod.name)

    return sorted(pods, key=right)[keep:]


def _free_names(
    owner: Manifest, revision: str, count: int, taken: set[ObjectName]
) -> list[ObjectName]:
    """The first names of the owner's endless list that no pod has."""
    names: list[ObjectName] = []
    number = 0
    while len(names) < count:
        name = _child(owner, f"{revision}-{_letters(owner, revision, number)}")
        if name not in taken and name not in names:
            names.append(name)
        number += 1
    return names


def _named(
    owner: Manifest,
    places: Mapping[ObjectName, str],
    mine: Sequence[LabPod],
    taken: set[ObjectName],
) -> Rollout:
    revision = revision_of(owner)
    by_name = {pod.name: pod for pod in mine}
    wanted = [by_name[name] for name in places if name in by_name]
    stale = [pod for pod in wanted if pod.revision != revision]
    going = {pod.name for pod in mine if pod.name not in places}
    going |= {pod.name for pod in stale if not pod.ready}
    if len(wanted) == len(places) and all(pod.ready for pod in wanted):
        going |= {pod.name for pod in stale[-1:]}
    new = (NewPod(name, owner, node) for name, node in places.items() if name not in taken)
    return Rollout(tuple(new), frozenset(going))


def _letters(owner: Manifest, *parts: object) -> str:
    return suffix(SUFFIX_LENGTH, owner.kind, owner.name, *parts)


def _child(owner: Manifest, ending: str) -> ObjectName:
    return ObjectName(owner.name.namespace, f"{owner.name.name}-{ending}")

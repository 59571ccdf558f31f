"""Which pod a person means: its name, ns/name, deploy/NAME, or the beginning of its name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from podwire_core.errors import PodwireError
from podwire_lab.applied import kind_called
from podwire_lab.workloads import LabPod, OwnerReference

_SHOWN = 5
_TEMPLATE_HASH = "pod-template-hash"


class NoSuchPod(PodwireError):  # noqa: N818 - an answer
    """No pod, or more than one, is meant; the text names those that could be."""


def find_pod(wanted: str, pods: Sequence[LabPod], namespace: str | None = None) -> LabPod:
    """The pod that is meant. Raises NoSuchPod.

    Without a namespace, all of them are searched. An exact name goes before a beginning, and
    of an owner's pods the first ready one is taken.
    """
    head, slash, tail = wanted.rpartition("/")
    kind = kind_called(head) if slash else None
    if slash and kind is None:
        namespace, wanted = head, tail
    here = [pod for pod in pods if namespace in {None, pod.name.namespace}]
    if kind is not None and kind != "Pod":
        return _owned(kind, tail, here)
    wanted = tail
    for found in (
        [pod for pod in here if pod.name.name == wanted],
        [pod for pod in here if pod.name.name.startswith(wanted)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            raise NoSuchPod(f"{wanted!r} could be {_names(found)}: name one")
    raise NoSuchPod(f"no pod {wanted!r}{_hint(wanted, here)}")


def _owned(kind: str, name: str, pods: Sequence[LabPod]) -> LabPod:
    found = [
        pod for pod in pods if OwnerReference(kind, name) in owners_of(pod) and not pod.terminating
    ]
    if not found:
        owners = {owner.name for pod in pods for owner in owners_of(pod) if owner.kind == kind}
        near = ", ".join(sorted(owners)) or "none"
        raise NoSuchPod(f"no pod of {kind} {name!r}: with pods there are {near}")
    return next((pod for pod in found if pod.ready), found[0])


def owners_of(pod: LabPod) -> tuple[OwnerReference, ...]:
    """Who made a pod, and who made that: the last is the one that its author wrote.

    A real Deployment's pods are its ReplicaSets', which are called NAME-HASH with the hash in
    a label of the pods.
    """
    if pod.owner is None:
        return ()
    suffix = f"-{pod.labels.get(_TEMPLATE_HASH, '')}"
    if pod.owner.kind != "ReplicaSet" or suffix == "-" or not pod.owner.name.endswith(suffix):
        return (pod.owner,)
    return (pod.owner, OwnerReference("Deployment", pod.owner.name.removesuffix(suffix)))


def _hint(wanted: str, pods: Sequence[LabPod]) -> str:
    if not pods:
        return ": there are no pods there (`podwire lab status` lists all)"
    names = [pod.name.name for pod in pods]
    near = set(difflib.get_close_matches(wanted, names, n=_SHOWN, cutoff=0.5))
    near |= {name for name in names if wanted and wanted in name}
    meant = [pod for pod in pods if pod.name.name in near] or list(pods)
    return f": did you mean {_names(meant)}?" if near else f": there are {_names(meant)}"


def _names(pods: Sequence[LabPod]) -> str:
    more = f" and {len(pods) - _SHOWN} more" if len(pods) > _SHOWN else ""
    return ", ".join(str(pod.name) for pod in pods[:_SHOWN]) + more

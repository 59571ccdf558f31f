"""Every world whose packet flows the tracer and the kernel agree on: see flows/__init__.py."""

from __future__ import annotations

from collections.abc import Iterator

from flows import (
    balancers,
    basics,
    detectors,
    dual_stack,
    invisible,
    matrix,
    nodeports,
    policies,
    slices,
    topology,
    wide,
)
from flows.places import NODE
from flows.rows import Flow
from flows.world import World

from podwire_core.family import Family
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service

__all__ = ["NODE", "WORLDS", "cases", "world"]

WORLDS = (
    *basics.WORLDS,
    *slices.WORLDS,
    *invisible.WORLDS,
    *topology.WORLDS,
    *policies.WORLDS,
    *balancers.WORLDS,
    *nodeports.WORLDS,
    *detectors.WORLDS,
    *dual_stack.WORLDS,
    *wide.WORLDS,
    *matrix.WORLDS,
)

Case = tuple[World, Flow, Family]


def cases() -> Iterator[tuple[str, Case]]:
    """Every flow of every world in each of its families, under the name of its promise."""
    for each in WORLDS:
        for flow in each.flows:
            for family in flow.families:
                yield f"{each.name}: {flow.promise}, {family}", (each, flow, family)


def world() -> list[KubernetesObject]:
    """A small cluster of one Node for any test: the objects of `basics` without the other Node."""
    found = basics.WORLD.objects()
    kinds = (Node, Service, EndpointSlice)
    return [each for each in found if isinstance(each, kinds) and each.metadata.name != "node2"]

"""A frontend, its plan and its slots as nft objects, and back from what the kernel holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from podwire_core.nft.objects import Element, Key, Object
from podwire_core.nft.statements import DROP, goto
from podwire_proxy import layout as names
from podwire_proxy.chains import Chains, Sizes, guard, member_parts, remember
from podwire_proxy.frontend import Affinity, Backend, Frontend, Guard, Plan, Policy
from podwire_proxy.layout import Layout, slots, table
from podwire_proxy.slots import assign


class Served(NamedTuple):
    """What is in force of a frontend, as far as it was asked for: its plan, its slots."""

    plan: Plan
    first: tuple[Backend, ...]
    second: tuple[Backend, ...]

    @classmethod
    def after(cls, before: Served | None, plan: Plan, frontend: Frontend, state: State) -> Served:
        """The slots that change least; of a frontend that is new, from what the kernel holds."""
        if before is not None:
            first, second = before.first, before.second
        else:
            first = slots_in_force(frontend, state)
            second = slots_in_force(frontend, state, second=True) if plan.second else ()
        return cls(plan, assign(first, plan.first), assign(second, plan.second))

    @property
    def sizes(self) -> Sizes:
        """How many endpoints each list has."""
        return Sizes(len(self.first), len(self.second))


State = Mapping[Key, str]


def frontend_objects(layout: Layout, frontend: Frontend, served: Served) -> Iterator[Object]:
    """Everything one frontend needs in force; a part of it others need too (see shares).

    The number or verdict that leads to it comes last.
    """
    yield from slots_of(layout, frontend, served)
    yield from beside_slots(layout, frontend, served)


def beside_slots(layout: Layout, frontend: Frontend, served: Served) -> Iterator[Object]:
    """The same without its slots, which no one shares and of which there are most."""
    plan = served.plan
    yield from _hairpins(layout, served)
    yield from _kind(layout, frontend, plan)
    if plan.affinity:
        yield from _affinity(layout, frontend, served, plan.affinity)
    if plan.guard:
        yield from _guard(layout, frontend, plan.guard)
    yield from _verdicts(layout, frontend, served)


def slots_of(layout: Layout, frontend: Frontend, served: Served) -> Iterator[Element]:
    """Its slots in both maps."""
    home = layout.table
    for second, backends in ((False, served.first), (True, served.second)):
        name, head = _slot_map(frontend, second=second), _slot_head(frontend)
        for slot, (address, port) in enumerate(backends):
            yield Element(home, name, (*head, str(slot)), (address, str(port)))


def _hairpins(layout: Layout, served: Served) -> Iterator[Element]:
    near = served.plan.near
    if near:
        for address in sorted({each.address for each in (*served.first, *served.second)} & near):
            yield Element(layout.table, names.HAIRPIN, (address, address))


def _kind(layout: Layout, frontend: Frontend, plan: Plan) -> Iterator[Element]:
    """What masquerade and refusals need to know."""
    if not plan.external:
        yield Element(layout.table, names.CLUSTER_IPS, (frontend.address,))
        return
    name = names.EXTERNAL_NODEPORTS if frontend.is_nodeport else names.EXTERNAL
    everyone = plan.policy is Policy.CLUSTER
    chain = names.TAKE_NODE_ADDRESS if everyone else names.TAKE_IT_FROM_NODE
    yield Element(layout.table, name, frontend.parts, goto(chain))


def _affinity(
    layout: Layout, frontend: Frontend, served: Served, sticky: Affinity
) -> Iterator[Object]:
    plan, home = served.plan, layout.table
    first = Policy.LOCAL if plan.policy is Policy.LOCAL else Policy.CLUSTER
    for policy, backends in ((first, served.first), (Policy.LOCAL, served.second)):
        for address, port in backends:
            key = member_parts(sticky.of(policy), address, port)
            yield Element(home, names.members(frontend.protocol), key)
    chains = remember(layout, frontend.protocol, plan.policy, served.sizes, sticky)
    yield from chains
    if chains:
        name = names.REMEMBERED_NODEPORTS if frontend.is_nodeport else names.REMEMBERED
        yield Element(home, name, frontend.parts, goto(chains[-1].name))


def _guard(layout: Layout, frontend: Frontend, ranges: Guard) -> Iterator[Object]:
    sources, chain = guard(layout, ranges)
    yield from sources
    yield chain
    if ranges.node:
        yield Element(layout.table, names.SELF_VIPS, (frontend.address, frontend.address))
    yield Element(layout.table, names.GUARDED, frontend.parts, goto(chain.name))


def _verdicts(layout: Layout, frontend: Frontend, served: Served) -> Iterator[Object]:
    plan, home, nodeport = served.plan, layout.table, frontend.is_nodeport
    chains = Chains(layout, frontend.protocol, nodeport)
    way = chains.way(plan.policy, served.sizes, plan.affinity)
    if not way or plan.lacks_local:
        verdict = DROP if plan.lacks_local else goto(names.REFUSE)
        name = names.UNAVAILABLE_NODEPORTS if nodeport else names.UNAVAILABLE
        yield Element(home, name, frontend.parts, verdict, plan.label)
    if not way:
        return
    yield from way
    if plan.affinity:
        name = names.STICKY_NODEPORTS if nodeport else names.STICKY
        yield Element(home, name, frontend.parts, goto(way[-1].name), plan.label)
        return
    choice = chains.numbered(plan.policy, served.sizes, way[-1])
    yield choice
    name = names.NODEPORTS if nodeport else names.FRONTENDS
    yield Element(home, name, frontend.parts, choice.parts, plan.label)


def slots_in_force(
    frontend: Frontend, state: State, *, second: bool = False
) -> tuple[Backend, ...]:
    """The slots that the kernel holds for a frontend: how a restarted proxy goes on."""
    if not state:
        return ()
    name = _slot_map(frontend, second=second)
    prefix = (*table(frontend.family).key, "element", name)
    head = _slot_head(frontend)
    found: list[Backend] = []
    while True:
        key: Key = (*prefix, " . ".join((*head, str(len(found)))))
        if key not in state:
            return tuple(found)
        address, _, port = state[key].partition("\n")[0].partition(" . ")
        if not port.isdigit():
            return tuple(found)
        found.append(Backend(address, int(port)))


def _slot_map(frontend: Frontend, *, second: bool) -> str:
    return slots(frontend.protocol, nodeport=frontend.is_nodeport, second=second)


def _slot_head(frontend: Frontend) -> tuple[str, ...]:
    """What comes before the number: `10.96.0.10 . 80`, for the protocol is the map's."""
    address = (frontend.address,) if frontend.address else ()
    return (*address, str(frontend.port))

"""Whatever happens to Services, in whatever order, ends where one sync from scratch does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypothesis import event, given, settings
from hypothesis import strategies as st
from proxy_stage import HERE, Stage
from service_histories import HISTORIES, OPTIONS, is_slot, without_order

from podwire_core.delta import Delta
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import Chain, Element, Key, Object, Table
from podwire_core.nft.statements import Dnat, Load, Match, Statement, Update, Verdict, Vmap
from podwire_core.nft.transaction import transaction
from podwire_core.snapshot import Change
from podwire_proxy.elements import frontend_objects
from podwire_proxy.options import Options
from podwire_proxy.services import TABLES, Services

Histories = list[list[Change]]


@settings(max_examples=300, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS)
def test_any_history_ends_where_a_fresh_start_does(steps: Histories, options: Options) -> None:
    stage = lived(steps, options)
    wanted = fingerprints(stage.services)
    assert stage.in_force == wanted, "what was told piece by piece is what is wanted"
    assert stage.nft.read(TABLES) == wanted
    assert not stage.owner._leftovers, "nothing that goes is still named by what stays"
    assert not list(wanted_otherwise(stage.services)), "what is shared is wanted alike"
    fresh = Services(HERE, options=options)
    fresh.update(stage.snapshot, stage.snapshot.changes())
    assert without_order(wanted) == without_order(fingerprints(fresh))
    for each in ("problems", "health_checks", "udp_serving", "no_local"):
        assert getattr(stage.services, each) == getattr(fresh, each), each
    event(f"{min(5, len(stage.services._served))} frontends")


@settings(max_examples=60, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS)
def test_a_restart_sends_nothing_whatever_was_before(steps: Histories, options: Options) -> None:
    stage = lived(steps, options)
    assert not stage.again().start(*stage.objects)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(HISTORIES, OPTIONS, st.floats(0, 1))
def test_every_beginning_of_what_is_wanted_may_be_in_force_alone(
    steps: Histories, options: Options, part: float
) -> None:
    walk = list(lived(steps, options).services.wanted.values())
    known: set[Key] = set()
    for each in walk:
        assert known.issuperset(named_by(each)), f"{each.key} comes before what it names"
        known.add(each.key)
    assert len(known) == len(walk), "no key comes twice"
    begun = walk[: int(len(walk) * part)]
    Fake().commit(transaction(Delta(added={each.key: each for each in begun})))
    assert not list(slots_behind_their_verdict(walk))


def lived(steps: Histories, options: Options) -> Stage:
    """A stage after all of this; the fake has taken every transaction."""
    stage = Stage(options=options)
    for changes in steps:
        stage.take(changes)
    return stage


def fingerprints(services: Services) -> dict[Key, str]:
    return {key: each.fingerprint for key, each in services.wanted.items()}


def named_by(each: Object) -> Iterator[Key]:
    """Keys of what must be there before it."""
    if isinstance(each, Table):
        return
    home = each.table.key
    yield home
    if isinstance(each, Element):
        yield (*home, "set", each.set)
        if isinstance(each.data, Verdict) and each.data.chain:
            yield (*home, "chain", each.data.chain)
    if isinstance(each, Chain):
        for rule in each.rules:
            for statement in rule.statements:
                yield from ((*home, *name) for name in names_in(statement) if name[1])


def names_in(statement: Statement) -> Iterator[tuple[str, str]]:
    """Chains, sets and maps that a statement names; an empty name is none."""
    match statement:
        case Verdict(chain=chain):
            yield "chain", chain
        case Match(set=name) | Update(set=name):
            yield "set", name
        case Dnat(map=name, ports=ports):
            yield "set", name
            yield "set", ports
        case Vmap(map=name) | Load(map=name):
            yield "set", name


def wanted_otherwise(services: Services) -> Iterator[Key]:
    """Keys under which two frontends want something else."""
    known: dict[Key, Object] = {}
    for frontend, served in services._served.items():
        for each in frontend_objects(services._layouts[frontend.family], frontend, served):
            if known.setdefault(each.key, each) != each:
                yield each.key


def slots_behind_their_verdict(walk: Iterable[Object]) -> Iterator[Key]:
    """Slots that come after the verdict that sends clients to them."""
    led: set[tuple[str, ...]] = set()
    for each in walk:
        if not isinstance(each, Element):
            continue
        if each.set in {"frontends", "nodeports"}:
            *address, protocol, port = each.parts
            led.add((each.table.key[0], protocol, *address, port))
        elif is_slot(each.key):
            protocol = each.set.rpartition("-")[2]
            if (each.table.key[0], protocol, *each.parts[:-1]) in led:
                yield each.key

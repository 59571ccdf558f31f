"""Which types of records the options of `podwire observe` mean, and what to say of none. Pure.

--type                              those
--verdict                           every type with records of that verdict, that the agent has
--service                           trace-sock: what policies drop has no Service any more
none of them                        drop
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import click

TYPES = ("drop", "trace-sock")
#: By the verdict, what tells of it; other verdicts of Hubble's nobody here sees.
_TELLERS = {"dropped": TYPES, "translated": ("trace-sock",)}
VERDICTS = (*_TELLERS, "forwarded", "error", "audit", "redirected", "traced")

_NO_DROPS = "no drops that fit, of the last 4,096 since each agent started"
_NO_DROPS_HERE = (
    "no drops that fit, of the last 4,096 since this node's agent started. What a pod sends is "
    "dropped on its own node, what it may not receive on the receiver's: ask that one as well"
)
_NO_TRANSLATIONS = (
    "no translations that fit: programs tell of them only while somebody follows them, so use "
    "--follow; the last 4,096 that somebody followed are kept"
)
_REFUSED = "calls that sockets refuse are told of only while somebody follows: use --follow"


class Choice(NamedTuple):
    """types: what tells of the records. whichever: those of them that the agent has will do."""

    types: Sequence[str]
    whichever: bool = False

    def nothing(self, agents: int, names: Mapping[str, Iterable[str]]) -> str:
        """What is said where nothing fits. names: what --pod and --service were given."""
        if "drop" not in self.types:
            sentences = [_NO_TRANSLATIONS]
        else:
            sentences = [_NO_DROPS_HERE if agents == 1 else _NO_DROPS]
            sentences += [_REFUSED] if len(self.types) > 1 else []
        for option, given in names.items():
            alone = [each for each in given if "/" not in each]
            sentences += [f"{option} {each} is {with_namespace(each)}" for each in alone]
        return "; ".join(sentences)


def choose(types: Sequence[str], verdicts: Sequence[str], services: Sequence[str]) -> Choice:
    """The drawing's. Raises click's error for what nothing tells of, or no record can be."""
    given = list(dict.fromkeys(each.lower() for each in types))
    wanted = [each.lower() for each in verdicts]
    _require_seen(wanted)
    if given:
        _require_possible(given, wanted, services)
        return Choice(given)
    if not wanted and not services:
        return Choice(["drop"])
    tellers = {teller for verdict in wanted or _TELLERS for teller in _TELLERS[verdict]}
    found = [each for each in TYPES if each in tellers and not (services and each == "drop")]
    return Choice(found, whichever=len(found) > 1)


def with_namespace(text: str) -> str:
    """NS/NAME; a name alone is one of namespace default, as everywhere in Kubernetes."""
    return text if "/" in text else f"default/{text}"


def _require_seen(verdicts: Iterable[str]) -> None:
    for each in verdicts:
        if each not in _TELLERS:
            raise click.UsageError(
                f"--verdict {each}: podwire sees only packets that policies drop, and "
                "calls that sockets translate; what policies let through is not logged"
            )


def _require_possible(
    types: Sequence[str], verdicts: Sequence[str], services: Sequence[str]
) -> None:
    for each in verdicts:
        if set(types).isdisjoint(_TELLERS[each]):
            raise click.UsageError(
                f"--type {types[0]} has no verdict {each}: use --type {_TELLERS[each][-1]}, or "
                "leave --type out"
            )
    if services and types == ["drop"]:
        raise click.UsageError(
            "--service: packets that policies drop have an endpoint's address, and no Service any "
            "more: use --pod with --type drop, or --type trace-sock"
        )

"""What a kube-proxy left in this network namespace, of whatever mode it was, and its removal.

    mode        it left                                  what is done
    nftables    tables ip kube-proxy, ip6 kube-proxy     deleted, each in one transaction
    iptables    chains KUBE-…, and rules that lead there removed, a table at a time (leftovers.py)
    ipvs        the same, and the link kube-ipvs0        the chains go; the rest is told of

Names are asked for first, by netlink: where a kube-proxy left nothing, no program is started, and
no other table is looked into. A kube-proxy that still runs makes all of it anew.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from functools import partial

from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft import netlink
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import Key
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb
from podwire_node.cleanup.rows import Outcome, Row, removed
from podwire_node.kube_proxy.iptables import (
    Iptables,
    IptablesError,
    ProgramMissing,
    every_iptables,
    legacy_tables,
)
from podwire_node.kube_proxy.leftovers import (
    TABLES,
    find,
    is_kube_proxys,
    restoring,
    targets,
    without,
)

KUBE_PROXY = "kube-proxy"
_IPVS_LINK = "kube-ipvs0"
_DEEP = 16  # of chains that others need: kube-proxy's are four


def delete_table(kernel: Kernel, key: Key) -> None:
    """Delete a table of nftables, and all in it. Raises NftError."""
    kernel.commit(Transaction((Command(Verb.DELETE, Gone(key)),)))


def nft_tables() -> list[Key]:
    """All tables of nftables by family and name; what is in them is not looked at.

    Raises NftError.
    """
    bodies = netlink.Questions().dump(netlink.GETTABLE, "", b"")
    return sorted(
        (netlink.family_of(body), netlink.text(netlink.fields_of(body).get(1))) for body in bodies
    )


def nft_chains(family: Family) -> Mapping[str, frozenset[str]]:
    """Chains of all a family's tables, by table. Raises NftError."""
    found: dict[str, set[str]] = {}
    for body in netlink.Questions().dump(netlink.GETCHAIN, family.nft, b""):
        fields = netlink.fields_of(body)  # NFTA_CHAIN_TABLE is 1, NFTA_CHAIN_NAME is 3
        found.setdefault(netlink.text(fields.get(1)), set()).add(netlink.text(fields.get(3)))
    return {table: frozenset(chains) for table, chains in found.items()}


def remove_leftovers(kernel: Kernel, *, dry_run: bool = False) -> list[Row]:
    """Remove what a kube-proxy left in the namespace of the kernel and of the calling thread.

    A row for each thing that there was.
    """
    rows: list[Row] = []
    try:
        rows += _tables(kernel, dry_run=dry_run)
        for each in every_iptables():
            rows += _chains(each, dry_run=dry_run)
    except NftError as error:
        rows.append(Row("tables", "of nftables", Outcome.FAILED, str(error)))
    return [*rows, *_ipvs()]


def _tables(kernel: Kernel, *, dry_run: bool) -> Iterator[Row]:
    for key in nft_tables():
        if key[0] in {"ip", "ip6"} and key[1] == KUBE_PROXY:
            remove = partial(delete_table, kernel, key)
            yield removed("table", " ".join(key), remove, dry_run=dry_run)


def _chains(each: Iptables, *, dry_run: bool) -> Iterator[Row]:
    """Of one iptables. The old one's tables cannot be looked into without its program."""
    for table in _worth_a_look(each):
        try:
            yield from _of_table(each, table, dry_run=dry_run)
        except ProgramMissing as error:
            outcome = Outcome.FAILED if each.kind == "nft" else Outcome.LEFT
            yield Row("chains", f"{each} {table}", outcome, str(error))
        except IptablesError as error:
            yield Row("chains", f"{each} {table}", Outcome.FAILED, str(error))
        except OSError as error:
            yield Row("chains", f"{each} {table}", Outcome.FAILED, error.strerror or str(error))


def _worth_a_look(each: Iptables) -> list[str]:
    """Tables that hold chains of kube-proxy's, or may hold them."""
    if each.kind == "legacy":
        there = legacy_tables(each.family)
        return [table for table in TABLES if table in there]
    chains = nft_chains(each.family)
    return [
        table
        for table in TABLES
        if any(is_kube_proxys(table, chain) for chain in chains.get(table, ()))
    ]


def _of_table(each: Iptables, table: str, *, dry_run: bool) -> Iterator[Row]:
    found = find(table, each.saved(table))
    kept = _needed(each, table, found.needed)
    yield from (
        Row("chain", f"{each} {table} {chain}", Outcome.LEFT, "a rule of someone else leads to it")
        for chain in sorted(kept & set(found.chains))
    )
    doomed = without(found, kept)
    if doomed.chains:
        name = f"{each} {table}: {len(doomed.chains)} chains, {len(doomed.jumps)} rules to them"
        text = restoring(table, doomed)
        yield removed("chains", name, partial(each.restore, text), dry_run=dry_run)


def _needed(each: Iptables, table: str, needed: frozenset[str]) -> set[str]:
    """Chains that others lead to, and those that these lead to."""
    kept = set(needed)
    for _ in range(_DEEP if kept else 0):
        more = targets(each.saved(table), kept) - kept
        if not more:
            break
        kept |= more
    return kept


def _ipvs() -> Iterator[Row]:
    try:
        socket.if_nametoindex(_IPVS_LINK)
    except OSError:
        return
    how = f"`ipvsadm --clear` and `ip link delete {_IPVS_LINK}` remove it, and its virtual servers"
    yield Row("link", _IPVS_LINK, Outcome.LEFT, how)

"""How the kernel differs from a plan: what CHECK reports. Pure.

Only what is missing or different counts. More addresses or routes than planned may be a
later plugin's work and are none of our business (SPEC.md, "CHECK").
"""

from dataclasses import dataclass

from podwire_cni.plan import FORWARDING, Entry, Link, Plan, Side, Sysctl, strict_source


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the kernel has it now."""

    side: Side
    name: str
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class State:
    """What a plan's two links are and carry now.

    links: those that exist.
    entries: their /32 and /128 addresses, permanent neighbours, routes of the main table and
    token bucket filters.
    """

    links: tuple[LinkState, ...]
    entries: frozenset[Entry]


def find_drift(plan: Plan, state: State) -> list[str]:
    """One sentence for each thing that is missing or differs; empty when all is well."""
    links = {link.side: link for link in state.links}
    sentences = [
        *_link_drift(plan.host, links.get(Side.HOST)),
        *_link_drift(plan.pod, links.get(Side.POD)),
    ]
    present = {link.side for link in state.links}
    missing = [entry for entry in plan.entries if entry not in state.entries]
    # A missing link needs no list of all that went with it.
    return sentences + [f"{entry} is missing" for entry in missing if entry.side in present]


def watched(plan: Plan) -> tuple[Sysctl, ...]:
    """The sysctls of the plan that CHECK looks at.

    The node-wide switches, and what keeps a pod from borrowing addresses. The links' others are
    their owner's to change.
    """
    source = strict_source(plan.host.name)
    return tuple(each for each in plan.sysctls if each.path in FORWARDING or each == source)


def _link_drift(link: Link, now: LinkState | None) -> list[str]:
    if now is None:
        return [f"{link.side}: link {link.name} is missing"]
    sentences = []
    if now.mac != link.mac:
        sentences.append(f"{link.side}: link {link.name} has address {now.mac}, not {link.mac}")
    if not now.up:
        sentences.append(f"{link.side}: link {link.name} is down")
    return sentences

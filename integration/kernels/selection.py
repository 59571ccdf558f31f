"""Which tests run in a guest, in groups: what asks the kernel, and fits into a guest's minutes.

Emulated, a test takes ten to twenty times as long as on this machine. A group is one column of the
table, and one pytest in the guest. A test that is left out says why; a file of the folders that are
named here which is in no group and not left out is found by tests/kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

#: When a guest gives up on a group. Emulated on an idle machine, none needs a third of it.
_SECONDS = 3600
_LONG = "minutes, emulated"
_NOTHING_NEW = "more of what the others ask the kernel"
_UNCLEAR = "some answer and some do not: emulated, who is slow looks like who is silent"
_FLOWS = "integration/proxy/test_packet_flows.py"


@dataclass(frozen=True)
class Group:
    """paths: pytest's arguments.  short: those that fit where there is little time.

    left_out: tests by the beginning of their name, and why.  seconds: when a guest gives up.
    """

    name: str
    paths: tuple[str, ...]
    short: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    seconds: int = _SECONDS

    @property
    def arguments(self) -> list[str]:
        """What pytest is called with."""
        return [*self.paths, *(f"--deselect={each}" for each in self.left_out)]


GROUPS = (
    Group(
        "features",
        ("integration/kernels/test_features.py",),
        short=("integration/kernels/test_features.py",),
    ),
    Group(
        "nft",
        (
            "integration/kernels/test_tables.py",
            "integration/core/test_nft_kernel.py",
            "integration/core/test_nft_entries.py",
            "integration/core/test_nft_lookup.py",
            "integration/core/test_nft_reader.py",
            "integration/core/test_nft_writer.py",
            "integration/core/test_conntrack.py",
            "integration/core/test_nflog.py",
        ),
        short=("integration/kernels/test_tables.py", "integration/core/test_nft_kernel.py"),
        left_out={
            "integration/core/test_nft_entries.py::test_entries_that_stay_are_all_read": _LONG,
            "integration/core/test_nft_entries.py::test_fifty_thousand_entries": _LONG,
            "integration/core/test_nft_reader.py::test_any_elements_of_any_type": _LONG,
            "integration/core/test_nft_reader.py::test_who_commits_to_another_table": _LONG,
            "integration/core/test_nft_reader.py::test_a_table_that_is_changed_all": _LONG,
        },
    ),
    Group(
        "proxy",
        (
            _FLOWS,
            "integration/proxy/test_affinity.py",
            "integration/proxy/test_changes.py",
            "integration/proxy/test_established.py",
        ),
        short=(_FLOWS, "-k", "basics"),
        left_out={
            f"{_FLOWS}::test_flow[basics: a pod of another node reaches itself": _UNCLEAR,
            f"{_FLOWS}::test_flow[matrix": _NOTHING_NEW,
            f"{_FLOWS}::test_the_kernel_holds_what_was_wanted[matrix": _NOTHING_NEW,
            "integration/proxy/test_changes.py::test_ten_thousand_endpoints": _LONG,
        },
    ),
    Group(
        "policy",
        (
            "integration/policy/test_packets.py",
            "integration/policy/test_enforcement.py",
            "integration/policy/test_rulesets.py",
        ),
        short=("integration/policy/test_packets.py",),
        left_out={"integration/policy/test_rulesets.py::test_random_rulesets": _LONG},
    ),
    Group(
        "ebpf",
        ("integration/ebpf",),
        short=(
            "integration/ebpf/test_connect.py",
            "integration/ebpf/test_datagrams.py",
        ),
        left_out={
            "integration/ebpf/test_packet_flows.py": _LONG,
            "integration/ebpf/external/test_packet_flows.py": _LONG,
            "integration/ebpf/test_changes_under_traffic.py": _LONG,
            "integration/ebpf/test_real_programs.py": _LONG,
            "integration/ebpf/test_loader.py::test_frontends_whose_endpoints_have_no_room": _LONG,
            "integration/ebpf/test_loader.py::test_a_service_whose_change_has_no_room": _LONG,
        },
        seconds=9000,  # each compilation takes half a minute, emulated
    ),
)

#: Files of the folders above that no guest runs, and why.
LEFT_OUT = {
    "integration/core/test_cluster_feed.py": "asks no kernel",
    "integration/core/test_cluster_policies.py": "asks no kernel",
    "integration/core/test_feed_conformance.py": "asks no kernel",
    "integration/core/test_feed_faults.py": "asks no kernel",
    "integration/core/test_feed_troubles.py": "asks no kernel",
    "integration/core/test_optional_kinds.py": "asks no kernel",
    "integration/proxy/test_history.py": _NOTHING_NEW,
    "integration/policy/test_cyclonus_cases.py": _LONG,
    "integration/policy/test_random_truth_tables.py": _LONG,
    "integration/policy/test_upstream_cases.py": _NOTHING_NEW,
}


def chosen(paths: tuple[str, ...]) -> tuple[Group, ...]:
    """A group of somebody's own: pytest's arguments, as they are."""
    return (Group("chosen", paths, seconds=1800),)


def groups(names: str, *, short: bool = False) -> tuple[Group, ...]:
    """The groups of a list of names with commas; all for "". Raises ValueError.

    short: of each only what fits where there is little time.
    """
    known = {each.name: each for each in GROUPS}
    wanted = [each for each in names.split(",") if each] or list(known)
    for each in wanted:
        if each not in known:
            raise ValueError(f"no group of tests is called {each}: there are {', '.join(known)}")
    found = [known[each] for each in wanted]
    if short:
        found = [replace(each, paths=each.short) for each in found if each.short]
    return tuple(found)

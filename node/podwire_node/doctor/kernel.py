"""The kernel: its version, and what it is told to do with packets (/proc/sys)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from podwire_node.doctor.finding import Finding, Patient, fail, ok, unused, warn
from podwire_node.settings.values import Component

OLDEST = (5, 10)
#: What a newer kernel brings, by the version that does.
_NEWER = (
    ((5, 14), "cookies of network namespaces are asked of a socket (SO_NETNS_COOKIE)"),
    ((5, 18), "Services without endpoints are refused at the socket (bpf_set_retval)"),
)
_FULL, _NEARLY = 0.98, 0.85
_STRICT = 1


def version(_: Patient) -> Finding:
    """Whether it is new enough, and what it lacks."""
    release = os.uname().release
    found = re.match(r"(\d+)\.(\d+)", release)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < OLDEST:
        return fail(f"Linux {release}", "podwire needs Linux 5.10 or newer: upgrade the kernel")
    lacking = [f"before {'.'.join(map(str, since))}: not {what}" for since, what in _NEWER]
    older = [text for (since, _), text in zip(_NEWER, lacking, strict=True) if number < since]
    return ok("; ".join([f"Linux {release}", *older]))


def forwarding(patient: Patient) -> Finding:
    """Whether packets of pods pass through this node."""
    if not {Component.CNI, Component.PROXY} & set(patient.components):
        return unused("neither component cni nor proxy is this agent's")
    names = {"net.ipv4.ip_forward": "net/ipv4/ip_forward"}
    if (patient.root / "proc/sys/net/ipv6/conf/all").is_dir():
        names["net.ipv6.conf.all.forwarding"] = "net/ipv6/conf/all/forwarding"
    values = {name: _number(patient.root / "proc/sys" / path) for name, path in names.items()}
    seen = ", ".join(f"{name} {value}" for name, value in values.items())
    if off := [name for name, value in values.items() if not value]:
        what = " and ".join(f"sysctl -w {name}=1" for name in off)
        return fail(seen, f"{_who_turns_it_on(patient)}; until then: {what}")
    return ok(seen)


def _who_turns_it_on(patient: Patient) -> str:
    if patient.answers:
        return "the agent turns it on, also again: see its problems, or find who turns it off"
    return "it is off by default, and an agent turns it on: start one"


def reverse_path(patient: Patient) -> Finding:
    """Whether the kernel drops packets whose answers would leave by another link (IPv4)."""
    folder = patient.root / "proc/sys/net/ipv4/conf"
    values = {each: _number(folder / each / "rp_filter") for each in ("all", "default")}
    seen = ", ".join(f"net.ipv4.conf.{name}.rp_filter {value}" for name, value in values.items())
    if values["all"] == _STRICT:
        return warn(
            seen,
            "strict on every link: with several uplinks, packets that come by one and are answered "
            "by another are dropped; sysctl -w net.ipv4.conf.all.rp_filter=2 is enough there",
        )
    return ok(seen)


def conntrack_room(patient: Patient) -> Finding:
    """How full the table of connections is: a full one loses new connections."""
    folder = patient.root / "proc/sys/net/netfilter"
    try:
        count = _number(folder / "nf_conntrack_count")
        most = _number(folder / "nf_conntrack_max")
    except FileNotFoundError:
        return unused("nobody tracks connections here yet")
    seen = f"{count:,} of {most:,} connections"
    advice = (
        "raise conntrackMaxPerCore or conntrackMin, or sysctl -w net.netfilter.nf_conntrack_max"
    )
    if most and count >= most * _FULL:
        return fail(seen, f"new connections are lost: {advice}")
    if most and count >= most * _NEARLY:
        return warn(seen, advice)
    return ok(seen)


def conntrack_losses(patient: Patient) -> Finding:
    """What connection tracking could not keep, since this network namespace began."""
    path = patient.root / "proc/net/stat/nf_conntrack"
    if not path.exists():
        return unused("nobody tracks connections here yet")
    names, *rows = (line.split() for line in path.read_text().splitlines())
    sums = {
        name: sum(int(row[at], 16) for row in rows if at < len(row))
        for at, name in enumerate(names)
        if name in {"insert_failed", "drop", "early_drop"}
    }
    seen = ", ".join(f"{name} {number:,}" for name, number in sums.items())
    if sums.get("drop") or sums.get("early_drop"):
        return warn(seen, "the table was full once: see the row above, and raise its limit")
    if sums.get("insert_failed"):
        return warn(
            seen,
            "two packets of one new connection raced (DNS from one port, A and AAAA): lookups that "
            "take 5 s are this; one question at a time (resolv.conf: single-request-reopen) helps",
        )
    return ok(seen or "nothing was lost")


def _number(path: Path) -> int:
    return int(path.read_text().split()[0])

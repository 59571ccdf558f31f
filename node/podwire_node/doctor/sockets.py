"""What programs at the sockets need, each looked at (proxyMode ebpf, auto).

An agent names what it misses first; here everything is told at once, also where it fell back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps

from podwire_ebpf.compilation import no_compiler
from podwire_ebpf.errors import BpfError
from podwire_ebpf.features import features, no_rights
from podwire_ebpf.place import is_mounted_by_us, no_bpffs, no_cgroup
from podwire_node.doctor.finding import Finding, Patient, ok, unused, warn


def _for_sockets(look: Callable[[Patient], Finding]) -> Callable[[Patient], Finding]:
    """A check that means something only where programs are asked for."""

    @wraps(look)
    def looked(patient: Patient) -> Finding:
        if not patient.wants_sockets:
            return unused(patient.no_sockets)
        try:
            return look(patient)
        except BpfError as error:
            return patient.lack(str(error), "use proxyMode nftables, which needs none of it")

    return looked


@_for_sockets
def kernel_features(patient: Patient) -> Finding:
    """What this kernel's bpf(2) has, found by trying."""
    if refusal := no_rights():
        return patient.lack(refusal, "run podwire doctor as root")
    found = features()
    if found.missing:
        return patient.lack(
            f"missing: {', '.join(found.missing)}", "use proxyMode nftables, or a newer kernel"
        )
    older = (
        ""
        if found.set_retval
        else "; Services without endpoints are left to nftables (before 5.18)"
    )
    return ok(f"every hook{older}")


@_for_sockets
def bpffs(patient: Patient) -> Finding:
    """Where maps and programs are kept."""
    place = patient.place
    if not (sentence := no_bpffs(place, mount=False)):
        return ok(str(place.folder))
    if is_mounted_by_us(place.folder):
        return warn(
            "no bpffs at /sys/fs/bpf yet: an agent mounts one when it starts",
            "fine on the node itself; in a container it ends with it, and so does what is pinned: "
            "there run `mount -t bpf bpf /sys/fs/bpf` on the node, and mount that into it",
        )
    return patient.lack(sentence, "an agent needs it before it starts")


@_for_sockets
def cgroup(patient: Patient) -> Finding:
    """Whose sockets are served; those of programs outside it are left to nftables."""
    place = patient.place
    if sentence := no_cgroup(place):
        return patient.lack(
            sentence, "set ebpfCgroup: the root of the node's cgroup2 mount, or a folder in it"
        )
    if os.path.ismount(place.cgroup):
        return ok(f"{place.cgroup}: every socket of this mount")
    return warn(
        f"{place.cgroup}: sockets of programs in and below it alone",
        "fine where all pods are below it; else set ebpfCgroup to the root of the mount",
    )


@_for_sockets
def compiler(patient: Patient) -> Finding:
    """What compiles the programs, asked as an agent asks it: by a child of the same environment."""
    if sentence := no_compiler():
        return patient.lack(sentence, "an agent needs it where it finds no programs of its version")
    return ok("bcc, and the kernel's headers for programs")

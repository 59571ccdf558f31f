"""Where the programs are attached: a table of the cgroup's hooks (linux/bpf.h).

All run for sockets of the cgroup and of those below it. `since` is the kernel that brought the
hook; whether it is there is found by trying.
"""

from __future__ import annotations

from typing import NamedTuple

SOCK, SOCK_ADDR, SCHED_CLS = 9, 18, 3  # BPF_PROG_TYPE_CGROUP_SOCK, _CGROUP_SOCK_ADDR, _SCHED_CLS

#: Of our programs' names in the kernel, which hold fifteen characters.
PREFIX = "pw_"


class Hook(NamedTuple):
    """kind: BPF_PROG_TYPE_*.  attach: enum bpf_attach_type."""

    name: str
    kind: int
    attach: int
    since: str

    @property
    def program(self) -> str:
        """The function in the C sources, and the program's name in the kernel and in bpffs."""
        return PREFIX + self.name


CONNECT4 = Hook("connect4", SOCK_ADDR, 10, "4.17")

#: In the order in which they are attached; they are detached in the opposite one. Whoever stops in
#: between leaves none that translates without those that translate back: before connect() and
#: sendmsg() send to an endpoint, what comes from there is shown as the Service's.
HOOKS = (
    Hook("sock_release", SOCK, 34, "5.9"),
    Hook("getpeername4", SOCK_ADDR, 29, "5.8"),
    Hook("getpeername6", SOCK_ADDR, 30, "5.8"),
    Hook("recvmsg4", SOCK_ADDR, 19, "5.2"),
    Hook("recvmsg6", SOCK_ADDR, 20, "5.2"),
    Hook("sendmsg4", SOCK_ADDR, 14, "4.18"),
    Hook("sendmsg6", SOCK_ADDR, 15, "4.18"),
    CONNECT4,
    Hook("connect6", SOCK_ADDR, 11, "4.17"),
)

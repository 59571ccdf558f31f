"""A token bucket filter as rtnetlink has it: what pyroute2's class lacks.

Source: linux/pkt_sched.h, TCA_TBF_*; net/sched/sch_tbf.c.
"""

from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl.tcmsg import sched_tbf, tcmsg

_nla: Any = nla  # pyroute2 ships no types
_tcmsg: Any = tcmsg


class _Options(_nla):  # type: ignore[misc]  # pyroute2 ships no types
    """A rate of 64 bits, and the bucket's depth in bytes instead of the kernel's ticks."""

    nla_map = (
        ("TCA_TBF_UNSPEC", "none"),
        ("TCA_TBF_PARMS", "parms"),
        ("TCA_TBF_RTAB", "none"),
        ("TCA_TBF_PTAB", "none"),
        ("TCA_TBF_RATE64", "uint64"),
        ("TCA_TBF_PRATE64", "uint64"),
        ("TCA_TBF_BURST", "uint32"),
    )
    parms = sched_tbf.options.tbf_parms


class QdiscMessage(_tcmsg):  # type: ignore[misc]  # pyroute2 ships no types
    """tcmsg, for a qdisc that is a tbf."""

    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "tbf_options"))
    tbf_options = _Options

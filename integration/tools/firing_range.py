"""Pods that come under fire: who shoots at them, who may reach them, and how that is looked at.

```
 attacker (a pod) ──┐                          ┌── guarded pods: friends may reach them on port 80,
 peer (outside)   ──┼── 4,000 packets a second ┤   by TCP and UDP; they may reach nobody
 friend (a pod)   ──┘                          └── open pods: no policy selects them
```
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

from attaching_node import AttachingNode
from flood import Flood
from gate import Gate
from scratch import Netns, until

#: What pods that come are given: one address of each family.
TARGET = ("10.244.1.200", "fd00:10:244:1::200")
PEER = ("192.168.77.2", "fd00:77::2")
#: Seconds. Under fire SYNs may be lost in full backlogs, and come again after 1, 2, 4, 8 ... s;
#: whether a policy dropped one is what a Gate tells.
PATIENCE = 40


@dataclass
class Pod:
    """A pod that is attached."""

    netns: Netns
    addresses: tuple[str, ...]


def attach(
    node: AttachingNode, pod: Netns, name: str, wanted: tuple[str, ...] = (), uid: str = ""
) -> Pod:
    """ADD, of a Pod in `default`."""
    keys = {"runtimeConfig": {"ips": list(wanted)}} if wanted else {}
    added = node.call("ADD", pod, name, uid, **keys)
    assert added.exit_code == 0, added
    return Pod(pod, tuple(str(row["address"]).partition("/")[0] for row in added.json["ips"]))


def guard(node: AttachingNode) -> None:
    """Pods with app=guarded are reached by friends alone, and reach nobody."""
    friends = {"podSelector": {"matchLabels": {"app": "friend"}}}
    node.put_policy(
        "guard",
        podSelector={"matchLabels": {"app": "guarded"}},
        policyTypes=["Ingress", "Egress"],
        ingress=[{"from": [friends], "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}],
    )


@contextmanager
def listening(netns: Netns) -> Iterator[None]:
    """Connections to port 80 of whatever address come about; nobody takes them, so up to 4,096."""
    where = ("::", 80)
    with netns.inside():
        server = socket.create_server(
            where, family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
        )
    with server:
        yield


def dialling(netns: Netns, address: str) -> socket.socket:
    """A socket on its way to port 80; not waited for."""
    with netns.inside():
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.setblocking(False)
    made.connect_ex((address, 80))
    return made


def connected(sockets: Sequence[socket.socket], seconds: float) -> list[bool]:
    """Which of them come about in this time; all are closed then."""
    with ExitStack() as stack:
        poll = stack.enter_context(selectors.DefaultSelector())
        for each in sockets:
            stack.enter_context(each)
            poll.register(each, selectors.EVENT_WRITE)
        came: set[object] = set()
        deadline = time.monotonic() + seconds
        while poll.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in poll.select(left):
                poll.unregister(key.fileobj)
                this = cast("socket.socket", key.fileobj)
                if not this.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    came.add(this)
        return [each in came for each in sockets]


def of_its_family(addresses: Sequence[str], target: str) -> str:
    """The address by which this target is dialled."""
    return next(each for each in addresses if (":" in each) == (":" in target))


def reaches(netns: Netns, address: str, seconds: float = PATIENCE) -> bool:
    """Whether a connection to port 80 comes about in this time."""
    return connected([dialling(netns, address)], seconds) == [True]


class Range:
    """A friend and an attacker, attached, beside the node's peer; gate: what passes the node."""

    def __init__(self, node: AttachingNode, new_netns: Callable[[], Netns]) -> None:
        self.node, self.new_netns = node, new_netns
        for name in ("attacker", "friend"):
            node.put_pod(name, app=name)
        self.attacker = attach(node, new_netns(), "attacker")
        self.friend = attach(node, new_netns(), "friend")
        self.strangers = (*self.attacker.addresses, *PEER)
        self.gate = Gate(node.netns)

    def friend_reaches(self, target: str, dropped: int = 0) -> bool:
        """Whether a friend gets through, and no packet was dropped but so many before."""
        source = of_its_family(self.friend.addresses, target)
        through = reaches(self.friend.netns, target)
        return through and self.gate.none_dropped(source, target, dropped)

    def dropped(self, target: str) -> int:
        """How many packets of the friend's were dropped so far."""
        return self.gate.dropped(of_its_family(self.friend.addresses, target), target)

    def is_denied(self, dialler: Pod, target: str) -> bool:
        """Whether a connection is dropped: it comes to the policies, and does not pass them."""
        pair = of_its_family(dialler.addresses, target), target
        before = self.gate.came(*pair), self.gate.passed(*pair)
        with dialling(dialler.netns, target):
            until(f"{pair[0]} dials {target}", lambda: self.gate.came(*pair) > before[0])
            return self.gate.passed(*pair) == before[1]

    @contextmanager
    def under_fire(self, *targets: tuple[str, ...]) -> Iterator[list[Flood]]:
        """Both strangers shoot at these."""
        shots = [
            [pair for each in targets for pair in zip(sources, each, strict=True)]
            for sources in (self.attacker.addresses, PEER)
        ]
        with (
            Flood(self.attacker.netns, shots[0]) as inner,
            Flood(self.node.peer, shots[1]) as outer,
        ):
            yield [inner, outer]

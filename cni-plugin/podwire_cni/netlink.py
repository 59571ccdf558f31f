"""The kernel's door: applies a plan, removes a link, reads back what is there.

```
 1  node   both ends in one message, the pod's born in the pod
 2  node   sysctls
 3  pod    sysctls, then one batch: lo and the link up, addresses, neighbours, routes
 4  node   one batch: alias, neighbours, routes
 5  pod    its IPv6 address is its own by now? else wait
```

The pod's end comes up last: no packet passes before the node's end drops borrowed addresses.
It is born where it stays (IFLA_NET_NS_FD inside the peer), because a move waits for an RCU grace
period under the kernel's one rtnl lock.

An IPv6 address is not yet the pod's own when the kernel has taken it: a worker of the kernel's adds
the local route soon (addrconf_dad_work, also without duplicate detection; on a busy machine that is
milliseconds). Until then the pod drops what comes for it, and a peer's SYN comes again after 1 s.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from podwire_cni import messages
from podwire_cni.drift import LinkState, State
from podwire_cni.errors import InterfaceExists, KernelRefused
from podwire_cni.family import IPv6, family_of
from podwire_cni.namespace import inside, link_index, write_sysctl
from podwire_cni.plan import Address, Entry, Link, Plan, Side
from podwire_cni.rtnetlink import Message, Refused, Socket, index_in

_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h


def apply(plan: Plan, netns: int) -> None:
    """Make the pair and everything on it.

    netns: descriptor of the pod's namespace.  Raises InterfaceExists or KernelRefused and
    may then leave a part behind: `remove_link(plan.host.name)` undoes all of it.
    """
    with refusal("host: open rtnetlink"), ExitStack() as opened:
        node = opened.enter_context(Socket())
        _create(node, plan, netns)
        _write_sysctls(plan, Side.HOST)
        with refusal("pod: enter namespace"):
            announced = inside(netns, lambda: _wire_pod(plan, opened))
        index = _index(plan.host)
        # Asked for its state, the kernel finishes at once what a carrier sets off: until then
        # the node's end would drop what it sends (linkwatch_sync_dev, since 6.8).
        state = messages.get_link(plan.host, index=index)
        node.perform([*_batch(plan, plan.host, index), state])
        if announced is not None:
            _wait_for_own(announced, plan)


def remove_link(name: str) -> bool:
    """Remove a link, and with it its peer, addresses, neighbours and routes.

    False when there is none of that name. Raises KernelRefused.
    """
    with refusal(f"host: link del {name}"), Socket() as node:
        index = link_index(name)
        return index is not None and remove_index(node, name, index)


def remove_index(node: Socket, name: str, index: int) -> bool:
    """Remove a link; False when it has gone. Raises Refused."""
    try:
        node.perform([messages.delete_link(f"host: link del {name}", index)])
    except Refused as error:
        # The pod's namespace died in between and took the pair along.
        if error.number != errno.ENODEV:
            raise
        return False
    return True


def read_state(plan: Plan, netns: int) -> State:
    """Read what the plan's links carry. netns: descriptor of the pod's namespace."""
    links, entries = _read_side(plan, plan.host)
    with refusal("pod: enter namespace"):
        pod_links, pod_entries = inside(netns, lambda: _read_side(plan, plan.pod))
    return State((*links, *pod_links), frozenset((*entries, *pod_entries)))


def _create(node: Socket, plan: Plan, netns: int) -> None:
    if _create_pair(node, plan, netns):
        return
    # Either end's name may be taken. Only this attachment can have the host end's name:
    # that is what a killed ADD left, and its peer goes with it. The rest is not ours.
    if remove_link(plan.host.name) and _create_pair(node, plan, netns):
        return
    raise InterfaceExists(f"the pod already has an interface {plan.pod.name}")


def _create_pair(node: Socket, plan: Plan, netns: int) -> bool:
    """Create both ends in one message; False when a name is taken."""
    try:
        node.perform([messages.create_pair(plan, netns)])
    except Refused as error:
        if error.number != errno.EEXIST:
            raise
        return False
    return True


def _wire_pod(plan: Plan, opened: ExitStack) -> Socket | None:
    """All of the pod's side, by a thread that is inside; what tells of its IPv6 addresses."""
    _write_sysctls(plan, Side.POD)
    announced = None
    if IPv6 in plan.families:
        announced = opened.enter_context(Socket(messages.IPV6_ROUTES))
    with Socket() as pod:
        loopback = messages.bring_up("pod: link lo up", _LOOPBACK_INDEX)
        pod.perform([loopback, *_batch(plan, plan.pod, _index(plan.pod))])
    return announced


def _wait_for_own(announced: Socket, plan: Plan) -> None:
    """Return when the pod's IPv6 addresses are its own."""
    addresses = [entry.address for entry in plan.on(Side.POD) if isinstance(entry, Address)]
    missing = {each.packed for each in addresses if family_of(each) is IPv6}
    # An announcement may be lost; the address becomes the pod's own without it, too.
    with suppress(OSError):
        while missing:
            missing -= {messages.own_address(*each) for each in announced.announcements()}


def _write_sysctls(plan: Plan, side: Side) -> None:
    for sysctl in plan.sysctls:
        if sysctl.side is side:
            with refusal(sysctl):
                write_sysctl(sysctl.path, sysctl.value)


def _index(link: Link) -> int:
    with refusal(link):
        index = link_index(link.name)
        if index is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return index


def _batch(plan: Plan, link: Link, index: int) -> Iterator[Message]:
    yield messages.bring_up(link, index, link.alias)
    for entry in plan.on(link.side):
        yield messages.install(entry, index)


def _read_side(plan: Plan, link: Link) -> tuple[list[LinkState], list[Entry]]:
    """The link and what it carries, read in the calling thread's namespace."""
    from podwire_cni import answers  # noqa: PLC0415 - pyroute2, which ADD and DEL need not load

    with refusal(f"{link.side}: read"), Socket() as here:
        try:
            (answer,) = here.ask(messages.get_link(link, name=link.name))
            requests = messages.requests(plan, link.side, index_in(answer))
            found = [each for request in requests for each in here.ask(request)]
        except Refused as error:
            # It was not there, or went while it was being read.
            if error.number != errno.ENODEV:
                raise
            return [], []
    entries = [entry for each in found if (entry := answers.read_entry(link, each))]
    return [answers.read_link(link, answer)], entries


@contextmanager
def refusal(what: object) -> Iterator[None]:
    """Turn the kernel's refusal into a KernelRefused that quotes the step."""
    try:
        yield
    except Refused as error:
        words = os.strerror(error.number)
        raise KernelRefused(f"kernel refused `{error.step}`: {words}", error.reason) from error
    except OSError as error:
        raise KernelRefused(f"kernel refused `{what}`: {error.strerror or error}") from error

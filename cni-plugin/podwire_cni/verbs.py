"""What each command does: the specification's five verbs over leases, plan and kernel.

```
 ADD   lease ─► host.admit ─► link ─► answer         undone in reverse when a step fails
 DEL   link ─► host.forget ─► lease                  and again, in whatever state it all is
```

pyroute2, which takes most of a call's time to import, is loaded by CHECK alone: it reads what
the kernel tells of links (`answers`).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from podwire_cni import namespace, netlink
from podwire_cni.attachment import Attachment
from podwire_cni.config import (
    Network,
    NetworkConfig,
    parse_config,
    parse_network,
    valid_attachments,
)
from podwire_cni.drift import find_drift, watched
from podwire_cni.errors import (
    AddressesExhausted,
    BadConfig,
    CheckFailed,
    CniError,
    CollectionIncomplete,
    InputOutputFailed,
    TryAgain,
    Unavailable,
    UnsupportedField,
)
from podwire_cni.family import host_network
from podwire_cni.fields import JsonObject
from podwire_cni.host import Host
from podwire_cni.leases import LOCK_TIMEOUT, Lease, Leases, boot_id
from podwire_cni.plan import Plan, make_plan
from podwire_cni.result import addresses_on, find_interface, make_result
from podwire_cni.spec import Command, Environment
from podwire_cni.uplink import DEFAULT_MTU, default_mtu

# Runtimes call STATUS without a deadline of their own, so it waits only this long.
_STATUS_LOCK_TIMEOUT = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Call:
    """One call, its parameters read.

    version: the configuration's, which allows the command.  raw: the configuration.
    netns: an open descriptor of the pod's namespace, where the caller has one.
    deadline: of time.monotonic().
    """

    environment: Environment
    version: str
    raw: JsonObject
    host: Host
    netns: int | None
    deadline: float

    @property
    def network(self) -> Network:
        """What every command reads of the configuration. Raises BadConfig."""
        return self._at_home(parse_network(self.raw))

    @property
    def config(self) -> NetworkConfig:
        """The whole configuration. Raises BadConfig."""
        config = parse_config(self.raw, self.environment.args)
        return replace(config, network=self._at_home(config.network))

    def attachment(self, network: Network) -> Attachment:
        """Who the call is for."""
        return Attachment(network.name, self.environment.container, self.environment.interface)

    def _at_home(self, network: Network) -> Network:
        state_dir = self.host.state_dir
        return network if state_dir is None else replace(network, state_dir=state_dir)


def add(call: Call) -> JsonObject:
    """Wire the pod. Returns the result; when it raises, nothing is left behind."""
    config, environment = call.config, call.environment
    _require_served(config, call.host)
    with (
        namespace.opened(environment.netns, call.netns) as netns,
        _leases(config.network, call) as leases,
        ExitStack() as undo,
    ):
        attachment = call.attachment(config.network)
        uid = environment.args.get("K8S_POD_UID", "")
        before = leases.find(attachment)
        lease = leases.acquire(
            attachment,
            environment.pod,
            config.ranges,
            config.cooldown,
            wanted=config.runtime.addresses,
            ports=config.runtime.ports,
            uid=uid,
        )
        undo.callback(_undo, call.host, leases, attachment)
        if before is not None and before.addresses != lease.addresses:
            call.host.forget(before)  # the ranges changed between two ADDs
        call.host.admit(lease, call.deadline, uid)
        plan = _plan(lease, config, config.runtime.mac, config.mtu or default_mtu())
        netlink.apply(plan, netns)
        _require_kept(leases, lease)
        undo.pop_all()
    return make_result(call.version, plan, lease.addresses, environment.netns, config.previous)


def delete(call: Call) -> None:
    """Unwire the pod, whatever is left of it. Finding nothing is success.

    CNI_NETNS is not looked at: removing the host's end removes the pod's.
    """
    network = call.network
    attachment = call.attachment(network)
    # Before the database is opened: that it cannot be must not leave the pod its network.
    _unlink(call.host, attachment)
    with _existing_leases(network, call) as leases:
        _release(call.host, leases, attachment)


def detach(host: Host, state_dir: Path, attachment: Attachment) -> None:
    """What DEL does, for an attachment that is known. Raises CniError."""
    with Leases(state_dir, boot_id(), create=False) as leases:
        _detach(host, leases, attachment)


def check(call: Call) -> None:
    """Raise CheckFailed unless prevResult, the lease and the kernel agree."""
    config, environment = call.config, call.environment
    if config.previous is None:
        raise BadConfig("prevResult: missing, CHECK needs it")
    position, mac = find_interface(config.previous, environment.interface)
    lease = _require_lease(config, call)
    expected = {str(host_network(address)) for address in lease.addresses}
    if missing := sorted(expected - addresses_on(config.previous, position)):
        raise CheckFailed(f"prevResult lacks the leased addresses [{', '.join(missing)}]")
    with namespace.opened(environment.netns, call.netns) as netns:
        drift = [*_drift(lease, config, netns, mac), *_port_drift(lease, config, call.host)]
    if drift:
        raise CheckFailed(drift[0], "; ".join(drift[1:]))


def collect(call: Call) -> None:
    """Remove every attachment of this network that the runtime does not list.

    Goes on after a failure; raises CollectionIncomplete at the end.
    """
    network = call.network
    valid = valid_attachments(call.raw, network)
    failures = []
    with _existing_leases(network, call) as leases:
        for attachment in leases.attachments(network.name):
            if attachment not in valid:
                try:
                    with call.host.turn(attachment.container, call.deadline):
                        _detach(call.host, leases, attachment)
                except CniError as error:
                    failures.append(f"{attachment}: {error}")
    if failures:
        raise CollectionIncomplete(
            f"{len(failures)} attachments could not be removed", "; ".join(failures)
        )


def status(call: Call) -> None:
    """Raise Unavailable when an ADD would fail now."""
    config = call.config
    try:
        with Leases(
            config.network.state_dir, boot_id(), lock_timeout=_STATUS_LOCK_TIMEOUT
        ) as leases:
            leases.require_vacancy(config.ranges, config.cooldown)
    except (AddressesExhausted, InputOutputFailed, TryAgain) as error:
        raise Unavailable(error.message, error.details) from error


VERBS: dict[Command, Callable[[Call], JsonObject | None]] = {
    Command.ADD: add,
    Command.DEL: delete,
    Command.CHECK: check,
    Command.GC: collect,
    Command.STATUS: status,
}


def _require_served(config: NetworkConfig, host: Host) -> None:
    if config.runtime.ports and not host.serves_ports:
        ports = ", ".join(str(port) for port in config.runtime.ports)
        raise UnsupportedField(
            f"runtimeConfig.portMappings: nothing here serves [{ports}]",
            "chain the portmap plugin, or let podwire's agent do it",
        )


def _leases(network: Network, call: Call) -> Leases:
    """The lease database, for whose lock nobody waits beyond the deadline."""
    return Leases(network.state_dir, boot_id(), lock_timeout=_patience(call))


def _existing_leases(network: Network, call: Call) -> Leases:
    return Leases(network.state_dir, boot_id(), create=False, lock_timeout=_patience(call))


def _patience(call: Call) -> float:
    return max(0.0, min(LOCK_TIMEOUT, call.deadline - time.monotonic()))


def _plan(lease: Lease, config: NetworkConfig, mac: str, mtu: int) -> Plan:
    return make_plan(
        lease.attachment,
        lease.pod,
        lease.addresses,
        mtu,
        mac=mac,
        bandwidth=config.runtime.bandwidth,
        localhost=any(port.at_localhost for port in lease.ports),
    )


def _require_kept(leases: Leases, lease: Lease) -> None:
    """Raise TryAgain when a GC has taken the lease while the pod was wired."""
    now = leases.find(lease.attachment)
    if now is None or set(now.addresses) != set(lease.addresses):
        raise TryAgain(f"the lease of {lease.attachment} was collected meanwhile")


def _undo(host: Host, leases: Leases, attachment: Attachment) -> None:
    # What made the ADD fail is what the person has to read; DEL follows and tries again.
    with suppress(CniError):
        _detach(host, leases, attachment)


def _detach(host: Host, leases: Leases, attachment: Attachment) -> None:
    _unlink(host, attachment)
    _release(host, leases, attachment)


def _unlink(host: Host, attachment: Attachment) -> None:
    # Before the lease goes: nobody may be given an address that a link still carries.
    with netlink.refusal(f"host: link show {attachment.host_name}"):
        found = namespace.link_index(attachment.host_name)
    if found is not None:
        host.remove_link(attachment.host_name)


def _release(host: Host, leases: Leases, attachment: Attachment) -> None:
    lease = leases.find(attachment)
    if lease is not None:
        host.forget(lease)
        leases.release(attachment)
    # Where no turns are kept, an ADD may have made the link since it was looked for. One that
    # makes it later finds its lease gone, and undoes itself.
    _unlink(host, attachment)


def _require_lease(config: NetworkConfig, call: Call) -> Lease:
    attachment = call.attachment(config.network)
    with _existing_leases(config.network, call) as leases:
        lease = leases.find(attachment, config.ranges)
    if lease is None:
        raise CheckFailed(f"no lease for {attachment} in network {attachment.network}")
    return lease


def _drift(lease: Lease, config: NetworkConfig, netns: int, pod_mac: str) -> list[str]:
    # A later plugin may have changed the MTU, and the address: prevResult says to what.
    plan = _plan(lease, config, pod_mac or config.runtime.mac, DEFAULT_MTU)
    return [*find_drift(plan, netlink.read_state(plan, netns)), *_sysctl_drift(plan)]


def _port_drift(lease: Lease, config: NetworkConfig, host: Host) -> list[str]:
    """hostPorts that were asked for are the lease's, and in force."""
    if not host.serves_ports:
        return []
    lost = [port for port in config.runtime.ports if port not in lease.ports]
    return [*(f"hostPort {port} is not the lease's" for port in lost), *host.lacks(lease)]


def _sysctl_drift(plan: Plan) -> list[str]:
    return [
        f"{each} is missing"
        for each in watched(plan)
        if not namespace.has_sysctl(each.path, each.value, *each.as_good)
    ]

"""What each command does: the specification's five verbs over leases, plan and kernel.

pyroute2 takes most of a call's time to import. STATUS, which runtimes repeat every few
seconds, and a DEL that finds nothing never load it, so `netlink` is imported where a verb
first needs the kernel.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

from podwire_cni import namespace
from podwire_cni.attachment import Attachment
from podwire_cni.config import (
    JsonObject,
    Network,
    NetworkConfig,
    parse_config,
    parse_network,
    valid_attachments,
)
from podwire_cni.drift import find_drift
from podwire_cni.errors import (
    AddressesExhausted,
    BadConfig,
    CheckFailed,
    CniError,
    CollectionIncomplete,
    InputOutputFailed,
    TryAgain,
    Unavailable,
)
from podwire_cni.family import host_network
from podwire_cni.leases import Lease, Leases, boot_id
from podwire_cni.plan import FORWARDING, Plan, make_plan
from podwire_cni.result import addresses_on, find_interface, make_result
from podwire_cni.spec import Command, Environment

# Runtimes call STATUS without a deadline of their own, so it waits only this long.
_STATUS_LOCK_TIMEOUT = 1.0  # seconds


def add(environment: Environment, version: str, raw: JsonObject) -> JsonObject:
    """Wire the pod. Returns the result; when it raises, nothing is left behind."""
    from podwire_cni import netlink  # noqa: PLC0415 - see the module's docstring

    config = parse_config(raw)
    attachment = _attachment(environment, config.network)
    with (
        namespace.opened(environment.netns, environment.netns_file) as netns,
        Leases(config.network.state_dir, boot_id()) as leases,
        ExitStack() as undo,
    ):
        lease = leases.acquire(attachment, environment.pod, config.ranges, config.cooldown)
        undo.callback(_detach, leases, attachment)
        plan = _plan(lease, config.mtu or netlink.default_mtu())
        netlink.apply(plan, netns)
        _require_caller(environment)
        undo.pop_all()
    return make_result(version, plan, lease.addresses, environment.netns, config.previous)


def delete(environment: Environment, _version: str, raw: JsonObject) -> None:
    """Unwire the pod, whatever is left of it. Finding nothing is success.

    CNI_NETNS is not looked at: removing the host's end removes the pod's.
    """
    network = parse_network(raw)
    with _existing_leases(network) as leases:
        _detach(leases, _attachment(environment, network))


def check(environment: Environment, _version: str, raw: JsonObject) -> None:
    """Raise CheckFailed unless prevResult, the lease and the kernel agree."""
    config = parse_config(raw)
    if config.previous is None:
        raise BadConfig("prevResult: missing, CHECK needs it")
    position, mac = find_interface(config.previous, environment.interface)
    lease = _require_lease(config, _attachment(environment, config.network))
    expected = {str(host_network(address)) for address in lease.addresses}
    if missing := sorted(expected - addresses_on(config.previous, position)):
        raise CheckFailed(f"prevResult lacks the leased addresses [{', '.join(missing)}]")
    with namespace.opened(environment.netns, environment.netns_file) as netns:
        # The kernel's dumps are not atomic: while other pods come and go, one may miss an
        # entry, and pyroute2 does not tell. Two in a row do not miss the same.
        drift = _drift(lease, netns, mac) and _drift(lease, netns, mac)
    if drift:
        raise CheckFailed(drift[0], "; ".join(drift[1:]))


def collect(_environment: Environment, _version: str, raw: JsonObject) -> None:
    """Remove every attachment of this network that the runtime does not list.

    Goes on after a failure; raises CollectionIncomplete at the end.
    """
    network = parse_network(raw)
    valid = valid_attachments(raw, network)
    failures = []
    with _existing_leases(network) as leases:
        for attachment in leases.attachments(network.name):
            if attachment not in valid:
                try:
                    _detach(leases, attachment)
                except CniError as error:
                    failures.append(f"{attachment}: {error}")
    if failures:
        raise CollectionIncomplete(
            f"{len(failures)} attachments could not be removed", "; ".join(failures)
        )


def status(_environment: Environment, _version: str, raw: JsonObject) -> None:
    """Raise Unavailable when an ADD would fail now."""
    config = parse_config(raw)
    try:
        with Leases(
            config.network.state_dir, boot_id(), lock_timeout=_STATUS_LOCK_TIMEOUT
        ) as leases:
            leases.require_vacancy(config.ranges, config.cooldown)
    except (AddressesExhausted, InputOutputFailed, TryAgain) as error:
        raise Unavailable(error.message, error.details) from error


VERBS: dict[Command, Callable[[Environment, str, JsonObject], JsonObject | None]] = {
    Command.ADD: add,
    Command.DEL: delete,
    Command.CHECK: check,
    Command.GC: collect,
    Command.STATUS: status,
}


def _require_caller(environment: Environment) -> None:
    """Raise TryAgain when the agent that asked is gone.

    It keeps a container's calls in order. After its end a DEL may have passed us already, and
    what we leave would be there for ever.
    """
    if environment.caller and os.getppid() != environment.caller:
        raise TryAgain("the podwire agent that asked has ended")


def _attachment(environment: Environment, network: Network) -> Attachment:
    return Attachment(network.name, environment.container, environment.interface)


def _plan(lease: Lease, mtu: int) -> Plan:
    return make_plan(lease.attachment, lease.pod, lease.addresses, mtu)


def _existing_leases(network: Network) -> Leases:
    return Leases(network.state_dir, boot_id(), create=False)


def _detach(leases: Leases, attachment: Attachment) -> None:
    # The link first: nobody may be given an address that a link still carries.
    if namespace.has_link(attachment.host_name):
        from podwire_cni import netlink  # noqa: PLC0415 - see the module's docstring

        netlink.remove_link(attachment.host_name)
    leases.release(attachment)


def _require_lease(config: NetworkConfig, attachment: Attachment) -> Lease:
    with _existing_leases(config.network) as leases:
        lease = leases.find(attachment, config.ranges)
    if lease is None:
        raise CheckFailed(f"no lease for {attachment} in network {attachment.network}")
    return lease


def _drift(lease: Lease, netns: int, pod_mac: str) -> list[str]:
    from podwire_cni import netlink  # noqa: PLC0415 - see the module's docstring

    plan = _plan(lease, netlink.DEFAULT_MTU)  # a later plugin may change the MTU
    return [*_forwarding_drift(plan), *find_drift(plan, netlink.read_state(plan, netns), pod_mac)]


def _forwarding_drift(plan: Plan) -> list[str]:
    """The node-wide switches; those of the links are their owner's to change."""
    return [
        f"{sysctl} is missing"
        for sysctl in plan.sysctls
        if sysctl.path in FORWARDING and namespace.read_sysctl(sysctl.path) != sysctl.value
    ]

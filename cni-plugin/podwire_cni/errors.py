# ruff: noqa: N818 - the names finish the sentence "the call failed with"; all are CniError
"""Every way a CNI call can fail, and the code each way has on the wire.

```
CniError
├── IncompatibleVersion     1   cniVersion is not ours, or is too old for the command
├── UnsupportedField        2   a key that is right in itself cannot be honoured here
├── BadEnvironment          4   a CNI_* variable is missing or malformed
├── InputOutputFailed       5   stdin, state directory or lease database unusable
├── BadJson                 6   stdin is not one JSON object
├── BadConfig               7   a key of the configuration is missing or wrong
├── BadNamespace            8   CNI_NETNS is not another network namespace
├── TryAgain               11   a lock was not free in time, or the call was interrupted
├── Unavailable            50   STATUS only: an ADD would fail now
├── AddressesExhausted    100   a range has no address left
├── InterfaceExists       101   CNI_IFNAME is already there and is not our leftover
├── CheckFailed           102   CHECK only: leases or kernel differ from prevResult
├── KernelRefused         103   the kernel refused one step of the plan
├── CollectionIncomplete  104   GC only: some attachments could not be removed
├── AddressTaken          105   the address that was asked for is another's
├── PortTaken             106   a hostPort that was asked for is another's
└── InternalError         199   a fault of podwire's own
```

Codes below 100 are the specification's (SPEC.md, "Error"), 100 and above are ours.
"""

from typing import ClassVar


class CniError(Exception):
    """A failure the runtime is told about as `{cniVersion, code, msg, details}`.

    `message` is one sentence for the person reading the pod's events; `details` may hold
    what helps to act on it. Only subclasses are raised.
    """

    code: ClassVar[int]

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class IncompatibleVersion(CniError):
    """The configuration's cniVersion is unsupported, or does not know the command."""

    code = 1


class UnsupportedField(CniError):
    """A key cannot be honoured here; the message begins with it and quotes its value."""

    code = 2


class BadEnvironment(CniError):
    """A CNI_* variable is missing or malformed."""

    code = 4


class InputOutputFailed(CniError):
    """Stdin, the state directory or the lease database cannot be read or written."""

    code = 5


class BadJson(CniError):
    """Stdin does not hold one JSON object of bearable size."""

    code = 6


class BadConfig(CniError):
    """A key of the configuration is missing or wrong; the message begins with the key."""

    code = 7


class BadNamespace(CniError):
    """CNI_NETNS cannot be opened, is no network namespace, or is the plugin's own."""

    code = 8


class TryAgain(CniError):
    """Nothing is wrong that time does not heal: a held lock, an interrupted call."""

    code = 11


class Unavailable(CniError):
    """STATUS: an ADD would fail now."""

    code = 50


class AddressesExhausted(CniError):
    """A range has no free address, not even one that still rests."""

    code = 100


class InterfaceExists(CniError):
    """The pod already has an interface of that name and it is not our leftover."""

    code = 101


class CheckFailed(CniError):
    """CHECK: the lease, a link, address, neighbour or route is missing or differs."""

    code = 102


class KernelRefused(CniError):
    """The kernel refused one step; the message quotes it in the words of `ip` or `sysctl`."""

    code = 103


class CollectionIncomplete(CniError):
    """GC: some attachments could not be removed; the details list them."""

    code = 104


class AddressTaken(CniError):
    """The address that a runtime asked for is another attachment's; the message names it."""

    code = 105


class PortTaken(CniError):
    """A hostPort that a runtime asked for is another attachment's; both pods are named."""

    code = 106


class InternalError(CniError):
    """A fault of podwire's own; the details say where."""

    code = 199

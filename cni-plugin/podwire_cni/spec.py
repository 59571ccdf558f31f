"""The CNI specification's call: commands, versions, and the environment they come in.

| command | since | also needs                              |
|---------|-------|-----------------------------------------|
| ADD     | 0.3.0 | CONTAINERID NETNS IFNAME PATH           |
| DEL     | 0.3.0 | CONTAINERID IFNAME PATH (NETNS may be gone) |
| CHECK   | 0.4.0 | CONTAINERID NETNS IFNAME PATH           |
| GC      | 1.1.0 | PATH                                    |
| STATUS  | 1.1.0 | PATH                                    |
| VERSION | 0.3.0 | nothing                                 |

Source: SPEC.md 1.1.0, "Parameters", and its reference implementation pkg/skel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podwire_cni.errors import BadEnvironment, IncompatibleVersion

SUPPORTED_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST_VERSION = SUPPORTED_VERSIONS[-1]

# Container ids and network names (SPEC.md); \Z because $ would accept a final newline.
IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*\Z")
# The kernel's rule for a link's name (dev_valid_name, net/core/dev.c), in bytes.
_INTERFACE = re.compile(rb"[^\s/:%\0]{1,15}\Z")
# The first two are all links' settings in /proc/sys/net, which no link's are told apart from.
_NO_NAMES = frozenset({"all", "default", ".", ".."})
_KNOWN_ARGS = frozenset(
    {
        "IgnoreUnknown",
        "IP",
        "MAC",
        "K8S_POD_NAMESPACE",
        "K8S_POD_NAME",
        "K8S_POD_INFRA_CONTAINER_ID",
        "K8S_POD_UID",
    }
)


class Command(StrEnum):
    """The value of CNI_COMMAND."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_REQUIRED = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.GC: ("CNI_PATH",),
    Command.STATUS: ("CNI_PATH",),
    Command.VERSION: (),
}
_WITH_ARGS = frozenset({Command.ADD, Command.CHECK})
_SINCE = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}


@dataclass(frozen=True, slots=True)
class Environment:
    """One call's parameters, validated as far as the command needs them.

    Strings that a command does not require may be empty. `pod` is "namespace/name" where
    CNI_ARGS tells both, "name" where it tells that alone, else the container id. `args`
    are CNI_ARGS, for ADD and CHECK.
    """

    command: Command
    container: str = ""
    netns: str = ""
    interface: str = ""
    pod: str = ""
    args: Mapping[str, str] = field(default_factory=dict)


def parse_environment(environ: Mapping[str, str]) -> Environment:
    """Read the CNI_* variables.

    Raises BadEnvironment that names every missing variable at once, or the first
    malformed one.
    """
    command = _command(environ.get("CNI_COMMAND", ""))
    required = _REQUIRED[command]
    missing = [name for name in required if not environ.get(name)]
    if missing:
        raise BadEnvironment(f"required env variables [{','.join(missing)}] missing")
    container = environ.get("CNI_CONTAINERID", "")
    interface = environ.get("CNI_IFNAME", "")
    if "CNI_CONTAINERID" in required:
        _validate(container, interface)
    # DEL needs no CNI_ARGS, and must not fail on words that already made ADD fail.
    args = parse_args(environ.get("CNI_ARGS", "")) if command in _WITH_ARGS else {}
    return Environment(
        command=command,
        container=container,
        netns=environ.get("CNI_NETNS", ""),
        interface=interface,
        pod=_pod(args) or container,
        args=args,
    )


def parse_args(text: str) -> dict[str, str]:
    """Read CNI_ARGS, `KEY=value;KEY=value`.

    Raises BadEnvironment for a pair without exactly one `=`, and for an unknown key
    unless IgnoreUnknown is `1` or `true`.
    """
    args: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        if pair.count("=") != 1:
            raise BadEnvironment(f"CNI_ARGS: invalid pair {pair!r}, expected KEY=value")
        key, value = pair.split("=")
        args[key] = value
    unknown = sorted(args.keys() - _KNOWN_ARGS)
    if unknown and args.get("IgnoreUnknown", "").lower() not in {"1", "true"}:
        raise BadEnvironment(
            f"CNI_ARGS: unknown keys [{','.join(unknown)}]", "IgnoreUnknown=1 permits them"
        )
    return args


def require_version(version: str, command: Command) -> None:
    """Raise IncompatibleVersion unless the configuration's version allows the command."""
    if version not in SUPPORTED_VERSIONS:
        supported = " ".join(SUPPORTED_VERSIONS)
        raise IncompatibleVersion(
            "incompatible CNI versions", f'config is "{version}", plugin supports [{supported}]'
        )
    since = _SINCE.get(command, SUPPORTED_VERSIONS[0])
    if SUPPORTED_VERSIONS.index(version) < SUPPORTED_VERSIONS.index(since):
        raise IncompatibleVersion(
            f"config version does not allow {command}",
            f'config is "{version}", {command} exists since {since}',
        )


def _command(word: str) -> Command:
    try:
        return Command(word)
    except ValueError:
        raise BadEnvironment(f"unknown CNI_COMMAND: {word}") from None


def _validate(container: str, interface: str) -> None:
    if not IDENTIFIER.match(container):
        raise BadEnvironment(
            f"CNI_CONTAINERID: invalid value {container!r}", f"must match {IDENTIFIER.pattern}"
        )
    # Bytes that are not UTF-8 arrive as lone surrogates, which are not printable.
    raw = interface.encode(errors="replace")
    if interface in _NO_NAMES or not interface.isprintable() or not _INTERFACE.match(raw):
        raise BadEnvironment(
            f"CNI_IFNAME: invalid value {interface!r}",
            "at most 15 characters, no '/', ':', '%' or white space; not all, default, '.' or '..'",
        )


def _pod(args: Mapping[str, str]) -> str:
    namespace, name = args.get("K8S_POD_NAMESPACE"), args.get("K8S_POD_NAME")
    pod = f"{namespace}/{name}" if namespace and name else ""
    # podman tells its container's name so, and no namespace. With a slash it would read as a Pod's.
    if name and not namespace and "/" not in name:
        pod = name
    # For people only, so bytes that are not UTF-8 become question marks.
    return pod.encode(errors="replace").decode()

"""Starts one container: namespaces, then exec. A program of the standard library alone.

    python -I -S launch.py NETNS HOSTNAME RESOLV_CONF HOSTS ACCOUNT COMMAND [ARGUMENT …]

It joins the network namespace, takes a mount and a host name of its own, puts the pod's
resolv.conf and hosts over /etc's (an empty path leaves that file alone), shows the files of
its ServiceAccount where clients look for them (unless the path is empty) and becomes the
command, in a session of its own. Nothing ties it to the runner: pods outlive their runner.
It costs 10 ms, and a pod pays it per container, so it imports next to nothing.
"""

import ctypes
import os
import sys

# linux/sched.h, linux/mount.h
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000
_MS_BIND, _MS_MOVE, _MS_REC, _MS_SLAVE = 0x1000, 0x2000, 0x4000, 1 << 19

_RUN, _STAGE = "/run", "/mnt"
_ACCOUNT = "secrets/kubernetes.io/serviceaccount"

_libc = ctypes.CDLL(None, use_errno=True)


def main(
    netns: str, hostname: str, resolv_conf: str, hosts: str, account: str, *command: str
) -> None:
    """Become the command. Raises OSError when a namespace, a mount or the command is missing."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.chdir("/")
    _enter(netns)
    # Slave, not private: a network namespace that the host deletes is let go here as well.
    _mount("none", "/", _MS_SLAVE | _MS_REC)
    for file, target in ((resolv_conf, "/etc/resolv.conf"), (hosts, "/etc/hosts")):
        if file and os.path.exists(target):  # noqa: PTH110 - pathlib costs more than all of this
            _mount(file, target, _MS_BIND)
    if account:
        _show_account(account)
    _show_own_links()
    name = os.fsencode(hostname)
    _check(_libc.sethostname(name, len(name)), "sethostname")
    os.execvp(command[0], command)  # noqa: S606 - a program and its arguments, no shell


def _enter(netns: str) -> None:
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.setns(descriptor, _CLONE_NEWNET), f"setns {netns}")
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "unshare")


def _show_account(account: str) -> None:
    """Put a /run of its own over the host's that shows all of it, and the account's files.

    A mount needs a folder to stand on, and none may be left on the host: so it is made in a
    new /run, which is put together elsewhere and then moved into place.
    """
    done = _libc.mount(b"tmpfs", os.fsencode(_STAGE), b"tmpfs", ctypes.c_ulong(0), b"mode=0755")
    _check(done, f"mount {_STAGE}")
    with os.scandir(_RUN) as entries:
        for entry in entries:
            _show(entry, f"{_STAGE}/{entry.name}")
    os.makedirs(f"{_STAGE}/{_ACCOUNT}")  # noqa: PTH103 - see main
    _mount(account, f"{_STAGE}/{_ACCOUNT}", _MS_BIND)
    _mount(_STAGE, _RUN, _MS_MOVE)


def _show(entry: "os.DirEntry[str]", target: str) -> None:
    """One entry of a folder in another place; the host's own secrets are no pod's."""
    if entry.name == "secrets":
        return
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)  # noqa: PTH115, PTH211 - see main
        return
    if entry.is_dir():
        os.mkdir(target)  # noqa: PTH102 - see main
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(entry.path, target, _MS_BIND | _MS_REC)


def _show_own_links() -> None:
    """A sysfs of this network namespace, for tools that read /sys/class/net. Not vital."""
    _libc.mount(b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)


def _mount(source: str, target: str, flags: int) -> None:
    done = _libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(done, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"podwire launch: {error}")

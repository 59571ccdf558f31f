"""Joins a cgroup, then becomes a command. A program of the standard library alone.

    python -I -S join.py CGROUP COMMAND [ARGUMENT …]

Sockets belong to the cgroup that their maker is in, and so do the processes that it starts.
"""

import os
import sys


def main(cgroup: str, *command: str) -> None:
    """Become the command. Raises OSError when the cgroup or the command is missing."""
    descriptor = os.open(f"{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, b"0")  # 0: who writes
    os.close(descriptor)
    os.execvp(command[0], command)  # noqa: S606 - a program and its arguments, no shell


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"podwire join: {error}")

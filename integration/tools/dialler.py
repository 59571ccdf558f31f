"""A client in a network namespace and a cgroup: asks who answers, as often as it is told.

    nsenter --net=… python -I -S dialler.py FOLDER_OF_PROBE CGROUP

Each line of input is [targets, timeout] as JSON, as probe.ask takes them; each line of output what
it answers. It ends with its input. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """See the module."""
    folder, cgroup = sys.argv[1:]
    Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    sys.path.insert(0, folder)
    import probe  # noqa: PLC0415 - its folder is told

    for line in sys.stdin:
        targets, timeout = json.loads(line)
        print(json.dumps(probe.ask([tuple(each) for each in targets], timeout)), flush=True)


if __name__ == "__main__":
    main()

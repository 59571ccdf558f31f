"""Namespaces that a program of this machine may have sockets in: found, with few rights too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scratch import Netns

#: What the DaemonSet's container has with the component ebpf.
RIGHTS = "-all,+net_admin,+sys_admin"
LOOKS = """
import json, pathlib
from podwire_node.stale.namespaces import Refusals, everywhere

refused, refusals = [], Refusals("nothing ends in there")

def told(count):
    refused.append(count)
    refusals(count)

here = lambda: pathlib.Path("/proc/thread-self/ns/net").stat().st_ino
found = [list(everywhere(here, told)) for _ in range(2)]
print(json.dumps([found, refused]))
"""


def test_names_do_where_processes_do_not_say_where_they_are_which_is_said_once(
    new_netns: Callable[[], Netns],
) -> None:
    pod = new_netns()
    # The test's own process has more rights than the one that looks.
    command = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}", "--no-new-privs"]
    done = subprocess.run(
        [*command, sys.executable, "-c", LOOKS], capture_output=True, text=True, check=True
    )
    found, refused = json.loads(done.stdout)
    place = Path("/run/netns", pod.name).stat().st_ino
    assert all(place in each for each in found)
    assert len(refused) == 2
    assert all(refused)
    (said,) = done.stderr.splitlines()
    assert "do not let us into their network namespaces" in said
    assert said.endswith(": nothing ends in there")

"""One process that performs many calls in threads, as the agent does.

    python thread_driver.py <<< {"threads": 16, "pods": [{"environ", "config", "commands"}, …]}

A pod's commands are performed one after the other; CHECK and DEL get its ADD's result.
Tells what failed, the namespaces its threads are in, and its open files before and after.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from podwire_cni import netlink, plugin, verbs  # noqa: F401 - loaded before files are counted
from podwire_cni.host import Host
from podwire_cni.link_remover import LinkRemover


class Agent(Host):
    """As much of the agent as a pod's link needs."""

    def __init__(self) -> None:
        self._links = LinkRemover()

    def remove_link(self, name: str) -> bool:
        return self._links.remove(name)


def live(pod: Mapping[str, Any]) -> list[str]:
    """A pod's calls; what failed of them."""
    failed = []
    config = dict(pod["config"])
    for command in pod["commands"]:
        if command == "ADD":
            config.pop("prevResult", None)
        outcome = plugin.run(
            pod["environ"] | {"CNI_COMMAND": command}, json.dumps(config).encode(), AGENT
        )
        if outcome.exit_code:
            failed.append(f"{pod['environ']['CNI_CONTAINERID']} {command}: {outcome.stdout}")
        elif command == "ADD":
            config["prevResult"] = json.loads(outcome.stdout)
    return failed


def namespaces(deadline: float) -> list[str]:
    """The network namespaces of this process' threads, once those that end have ended."""
    while True:
        found = {place for task in Path("/proc/self/task").iterdir() if (place := of(task))}
        if len(found) == 1 or time.monotonic() > deadline:
            return sorted(found)
        time.sleep(0.01)


def of(task: Path) -> str:
    try:
        return os.readlink(task / "ns/net")  # noqa: PTH115 - a namespace is no path
    except FileNotFoundError:  # it has ended
        return ""


def main() -> None:
    order = json.load(sys.stdin)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(order["threads"]) as pool:
        failed = [each for found in pool.map(live, order["pods"]) for each in found]
        seen = namespaces(time.monotonic() + 10)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    after = len(list(Path("/proc/self/fd").iterdir()))
    print(json.dumps({"failed": failed, "namespaces": seen, "files": after - before}))


AGENT = Agent()
main()

"""Inside a guest: runs the groups of tests, a pytest each, and says what happens, a JSON line each.

```
 /podwire/.plan.json  [{"name", "arguments"}]   ─►  fork ─► pytest.main(…, plugins=[Reporter])
 /dev/vport3p1  {"group", "test", "outcome", …} ◄───────────┘        results.py reads them
```

pytest and what most tests stand on are imported once, before the forks: emulated, it takes seconds.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import pyroute2  # noqa: F401 - imported for all forks
import pytest

_PLAN = Path("/podwire/.plan.json")
_PORTS = Path("/sys/class/virtio-ports")
_TEXT = 20_000
#: Seconds after which a test is taken for hung. The slowest compiles four times, beside calls
#: without a pause: four minutes and more, also of a guest that has the machine alone.
_TIMEOUT = 1800


class Reporter:
    """A pytest plugin: each test's outcome when it has ended, as one line."""

    def __init__(self, group: str, port: TextIO) -> None:
        self._group = group
        self._port = port
        self._reports: list[pytest.TestReport] = []

    def say(self, **fields: object) -> None:
        """Write a line at once: a guest may be ended at any moment."""
        self._port.write(json.dumps({"group": self._group, **fields}) + "\n")
        self._port.flush()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be read is a failure, one that skips itself a skip."""
        if report.outcome != "passed":
            self._one(report.nodeid, report.outcome, 0.0, report)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """How many tests there are."""
        self.say(collected=len(session.items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of setup, call and teardown the worst counts."""
        self._reports.append(report)
        if report.when == "teardown":
            worst = next((each for each in self._reports if each.failed), None)
            worst = worst or next((each for each in self._reports if each.skipped), report)
            seconds = sum(each.duration for each in self._reports)
            self._reports.clear()
            self._one(report.nodeid, worst.outcome, seconds, worst)

    def _one(
        self,
        test: str,
        outcome: str,
        seconds: float,
        report: pytest.TestReport | pytest.CollectReport,
    ) -> None:
        text = ""
        if outcome == "skipped":
            text = _reason(report)
        elif outcome == "failed":
            text = report.longreprtext + "".join(
                f"\n--- {name}\n{words}" for name, words in report.sections
            )
        self.say(test=test, outcome=outcome, seconds=round(seconds, 2), text=text[-_TEXT:])


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped, or that it was expected to fail, and why."""
    if expected := getattr(report, "wasxfail", ""):
        return f"expected to fail: {expected}"
    found = report.longrepr
    return str(found[2]).removeprefix("Skipped: ") if isinstance(found, tuple) else str(found)


def main() -> None:
    """Run the groups of the plan."""
    (device,) = (Path("/dev", each.name) for each in _PORTS.iterdir())
    with os.fdopen(os.open(device, os.O_WRONLY | os.O_CLOEXEC), "w") as port:
        first = Reporter("", port)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        first.say(release=platform.release(), booted=uptime)
        for group in json.loads(_PLAN.read_text()):
            began = time.monotonic()
            status = _run(group["name"], group["arguments"], group["seconds"], port)
            seconds = round(time.monotonic() - began, 1)
            first.say(ended=group["name"], status=status, seconds=seconds)
        first.say(done=True)


def _run(group: str, arguments: list[str], seconds: float, port: TextIO) -> int:
    """pytest's exit code; negative: the signal that ended it, SIGKILL when its time was up."""
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(_pytest(group, arguments, port))
    descriptor = os.pidfd_open(child)
    if not select.select([descriptor], [], [], seconds)[0]:
        os.killpg(child, signal.SIGKILL)
    os.close(descriptor)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _pytest(group: str, arguments: list[str], port: TextIO) -> int:
    options = ["-q", "--color=no", "-p", "no:cacheprovider", "-o", f"timeout={_TIMEOUT}"]
    reporter = Reporter(group, port)
    code = int(pytest.main([*options, *arguments], plugins=[reporter]))
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    main()

"""SIGKILL at any moment: no address has two owners, no owner has half of what it asked for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from podwire_cni.leases import FILE_NAME, Leases

_WORKERS, _SECONDS = 4, 3.0

#: One process: takes and gives back for ever, and says what it holds after each call.
WORKER = """
import ipaddress, itertools, random, sys
from pathlib import Path
from podwire_cni.attachment import Attachment
from podwire_cni.leases import Leases
from podwire_cni.ports import PortMapping
from podwire_cni.ranges import AddressRange

ranges = [AddressRange(ipaddress.ip_network(text)) for text in ("10.0.0.0/26", "fd00::/120")]
for turn in itertools.count():
    number = random.randrange(12)
    attachment = Attachment("podnet", f"{sys.argv[2]}-{number}", "eth0")
    with Leases(Path(sys.argv[1]), "boot") as leases:
        if random.random() < 0.6:
            port = PortMapping(1000 + 20 * int(sys.argv[2]) + number, 80, "tcp")
            leases.acquire(attachment, "default/web", ranges, 30, ports=[port])
        else:
            leases.release(attachment)
"""


@contextlib.contextmanager
def worker(directory: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WORKER, str(directory), str(number)]
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def state_of(directory: Path) -> tuple[Counter[str], list[tuple[int, int]]]:
    """How many owners each address has, and of each lease how many addresses and ports."""
    with Leases(directory, "boot") as leases:
        found = leases.all()
    owners = Counter(str(address) for lease in found for address in lease.addresses)
    return owners, [(len(lease.addresses), len(lease.ports)) for lease in found]


def test_killed_calls_leave_no_address_doubled_and_no_lease_halved(tmp_path: Path) -> None:
    chance, rounds = random.Random(5), 0
    until = time.monotonic() + _SECONDS
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker(tmp_path, n)) for n in range(_WORKERS)]
        while time.monotonic() < until or rounds < 4:
            time.sleep(chance.uniform(0.15, 0.3))
            victim = chance.randrange(_WORKERS)
            assert workers[victim].poll() is None, "a worker ended by itself"
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            owners, sizes = state_of(tmp_path)
            assert set(owners.values()) <= {1}
            assert set(sizes) <= {(2, 1)}
            workers[victim] = stack.enter_context(worker(tmp_path, victim))
            rounds += 1
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (orphans,) = database.execute(
            "SELECT count(*) FROM ports WHERE (network, container, interface) NOT IN"
            " (SELECT network, container, interface FROM leases WHERE released IS NULL)"
        ).fetchone()
    assert orphans == 0
    assert rounds > 3

"""Types are worked out once, whatever threads begin with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: Annotations are evaluated when a type is first used, those of a field's struct when its holder is
#: half done: one that waits there lets the other thread meet the half.
_TWO_THREADS = """
from __future__ import annotations
import threading
import msgspec
from podwire_core import typed

inside, other_began = threading.Event(), threading.Event()

def slow():
    inside.set()
    other_began.wait(10)
    threading.Event().wait(0.3)
    return int

class Inner(msgspec.Struct):
    number: slow()

class Shared(msgspec.Struct):
    inner: Inner

class One(msgspec.Struct):
    shared: Shared

class Two(msgspec.Struct):
    shared: Shared

read = []

def first():
    read.append(typed.decode(b'{"shared": {"inner": {"number": 1}}}', One).shared.inner.number)

def second():
    inside.wait(10)
    other_began.set()
    read.append(typed.READ.shared.inner.number)

threads = [threading.Thread(target=first), threading.Thread(target=second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(read))
"""


def _run(way: str) -> subprocess.CompletedProcess[str]:
    script = _TWO_THREADS.replace("typed.READ", way)
    path = str(Path(__file__).parents[2] / "core")
    return subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_two_threads_that_begin_with_one_struct_read_what_was_sent() -> None:
    json = _run("""typed.decode(b'{"shared": {"inner": {"number": 2}}}', Two)""")
    assert (json.returncode, json.stdout) == (0, "[1, 2]\n"), json.stderr
    plain = _run("""typed.convert({"shared": {"inner": {"number": 2}}}, Two)""")
    assert (plain.returncode, plain.stdout) == (0, "[1, 2]\n"), plain.stderr


def test_what_is_no_such_thing_is_refused_as_msgspec_refuses_it() -> None:
    refused = _run("""typed.decode(b'{"shared": {"inner": {"number": "x"}}}', Two)""")
    assert refused.stdout == "[1]\n"
    assert (
        "ValidationError: Expected `int`, got `str` - at `$.shared.inner.number`" in refused.stderr
    )

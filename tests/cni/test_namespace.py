"""What a link's name tells, also to a process that has no descriptor left."""

import errno
import subprocess
import sys
from pathlib import Path

from podwire_cni import namespace

_SCRIPT = """
import os, resource, sys
from podwire_cni.namespace import link_index

used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, used - 1))
try:
    print(link_index("lo"))
except OSError as error:
    print("refused", error.errno)
"""


def test_a_link_has_an_index_and_another_name_has_none() -> None:
    assert namespace.link_index("lo") == 1
    assert namespace.link_index("pwnosuchlink") is None


def test_without_a_free_descriptor_no_link_is_said_to_be_gone() -> None:
    package = str(Path(namespace.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={"PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["refused", str(errno.EMFILE)]

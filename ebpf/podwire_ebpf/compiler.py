"""The compiler's child: reads one order, compiles and loads with BCC, pins, and ends.

    stdin   {"text": …, "flags": […], "folder": …, "programs": [[function, kind, attach], …]}
    stdout  {"error": "", …} when all programs are pinned at folder/function; what is missing or
            wrong otherwise. An order without text asks only whether anything is missing.
    stderr  what clang and the verifier say

BCC and its LLVM take some 100 MB, which end with this process; the agent never imports either.
The kernel's own headers are not needed: programs include its interface to user space alone
(linux-libc-dev), and what BCC asks of a kernel's tree stands in headers/.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_INCLUDE = Path("/usr/include")

BCC_MISSING, HEADERS_MISSING, NOT_COMPILED, NOT_LOADED = "bcc", "headers", "compile", "load"


def main() -> None:
    """Answer one order. What went wrong is in the answer, so the exit code is 0."""
    # An agent that is killed shall not leave a compiler behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    order = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print is no answer
    told = _obey(order)
    os.write(answer, json.dumps(told).encode())


def _obey(order: dict[str, Any]) -> dict[str, str]:
    if not (_INCLUDE / "linux/bpf.h").exists():
        return {"error": HEADERS_MISSING, "sentence": ""}
    try:
        from bcc import BPF  # noqa: PLC0415 - its absence is an answer
    except (ImportError, OSError) as error:
        return {"error": BCC_MISSING, "sentence": str(error)}
    if not order["text"]:
        return {"error": "", "sentence": ""}
    try:
        module = BPF(text=order["text"], cflags=[*order["flags"], *_includes()])
    except Exception as error:  # noqa: BLE001 - bcc raises nothing more special
        return {"error": NOT_COMPILED, "sentence": str(error)}
    return _load(module, order)


def _load(module: Any, order: dict[str, Any]) -> dict[str, str]:
    from bcc import lib  # noqa: PLC0415 - see above

    for function, kind, attach in order["programs"]:
        try:
            loaded = module.load_func(function, kind, None, attach)
        except Exception as error:  # noqa: BLE001 - see above
            return {"error": NOT_LOADED, "sentence": f"{function}: {error}"}
        path = os.fsencode(os.path.join(order["folder"], function))  # noqa: PTH118 - bytes for C
        if lib.bpf_obj_pin(loaded.fd, path):
            reason = os.strerror(ctypes.get_errno())
            return {"error": NOT_LOADED, "sentence": f"{function} cannot be pinned: {reason}"}
    return {"error": "", "sentence": ""}


def _includes() -> list[str]:
    """Where the kernel's interface stands: Debian has asm/ in a folder of the machine's name."""
    machine = sysconfig.get_config_var("MULTIARCH") or ""
    return [f"-I{_INCLUDE / machine}", f"-I{_INCLUDE}"] if machine else [f"-I{_INCLUDE}"]


if __name__ == "__main__":
    main()

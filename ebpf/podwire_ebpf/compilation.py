"""A compile as the agent sees it: a child that is given an order and a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from podwire_ebpf import compiler
from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.sources import FOLDER, Module

# The slowest machine that was measured, an emulated one, took 20 seconds, and 55 beside others.
_SECONDS = 120
_REASON = 200
_DETAILS = 16_384  # characters of what compiler and verifier say; the end has the reason


def compile_into(folder: Path, maps: Path, module: Module, flags: Sequence[str]) -> None:
    """Compile and load a module, and pin its programs at folder/function.

    maps: the folder of the pinned maps.  Raises Unsupported when bcc or headers are missing,
    BpfError when the compiler or the kernel refuses.
    """
    order: dict[str, object] = {
        "text": module.text(),
        "flags": [f'-DPODWIRE_MAPS="{maps}"', *flags],
        "folder": str(folder),
        "programs": [[each.function, each.kind, each.attach] for each in module.programs],
    }
    error, sentence, details = _ask(order)
    if missing := _missing(error, sentence):
        raise Unsupported(missing)
    if error:
        raise BpfError(f"{module.name}: {sentence}{_reason(details)}", details)


def no_compiler() -> str:
    """What a compile would lack, in one sentence; "" when nothing. It takes a second, for bcc."""
    error, sentence, _ = _ask({"text": "", "flags": [], "folder": "", "programs": []})
    return _missing(error, sentence) or (sentence if error else "")


def _missing(error: str, sentence: str) -> str:
    if error == compiler.BCC_MISSING:
        return f"bcc cannot be imported: install python3-bpfcc ({sentence})"
    if error == compiler.HEADERS_MISSING:
        return "/usr/include/linux/bpf.h is missing: install linux-libc-dev"
    return ""


def _reason(details: str) -> str:
    """The line that says why: clang's first error, or what the verifier found last."""
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    found = [line for line in lines if not line.startswith(("processed ", "HINT"))]
    told = errors[:1] or found[-1:]
    return f": {told[0][:_REASON]}" if told else ""


def _ask(order: dict[str, object]) -> tuple[str, str, str]:
    """Error, sentence and details of the child's answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", compiler.__name__],  # -P: nobody's current folder
            input=json.dumps(order).encode(),
            capture_output=True,
            timeout=_SECONDS,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        details = (late.stderr or b"").decode(errors="replace")[-_DETAILS:]
        raise BpfError(f"the compiler did not end within {_SECONDS} seconds", details) from late
    except OSError as error:
        raise BpfError(f"the compiler did not start: {error}") from error
    details = done.stderr.decode(errors="replace")[-_DETAILS:]
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return compiler.NOT_COMPILED, f"the compiler ended with {done.returncode}", details
    return str(told["error"]), str(told["sentence"]), details


def _environment() -> dict[str, str]:
    """Little, so that nobody's variables change what is compiled; and where this package is."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(FOLDER.parent),
        "LC_ALL": "C",
        "BCC_KERNEL_SOURCE": str(FOLDER / "headers"),
    }

"""One call of a CNI plugin as a process: bounded in time, and gone afterwards whatever happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

DEADLINE_S = 60.0


class Done(NamedTuple):
    """How a plugin ended: its exit code, stdout and stderr."""

    code: int
    output: bytes
    errors: bytes


async def run_plugin(
    program: Sequence[str], environment: Mapping[str, str], configuration: bytes
) -> Done:
    """Run it beside our own environment. Raises TimeoutError, OSError."""
    process = await asyncio.create_subprocess_exec(
        *program,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate(configuration)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(await process.wait(), output, errors)

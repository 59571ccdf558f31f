"""Readiness probes, asked from the node as kubelet asks them; none of them blocks the loop.

Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podwire_lab.workloads import HTTPGet, LabContainer, Probe

_STATUS_LINE_BYTES = 64


async def passes(probe: Probe, container: LabContainer, ip: str, enter: Sequence[str]) -> bool:
    """Ask once. `enter` is what makes a command run inside the container's namespaces."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http_get is not None:
                return await _http(probe.http_get, ip, container.port(probe.http_get.port))
            if probe.tcp_socket is not None:
                return await _tcp(ip, container.port(probe.tcp_socket.port))
            if probe.exec is not None:
                return await _exec([*enter, *probe.exec.command])
    except (OSError, TimeoutError):
        return False
    return True


async def _tcp(ip: str, port: int | None) -> bool:
    if port is None:
        return False
    _, writer = await asyncio.open_connection(ip, port)
    writer.close()
    return True


async def _http(get: HTTPGet, ip: str, port: int | None) -> bool:
    if port is None:
        return False
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        path = get.path if get.path.startswith("/") else f"/{get.path}"
        host = f"[{ip}]" if ":" in ip else ip
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: podwire-lab\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        words = (await reader.read(_STATUS_LINE_BYTES)).split(maxsplit=2)
    finally:
        writer.close()
    return len(words) >= 2 and words[0].startswith(b"HTTP/") and words[1][:1] in {b"2", b"3"}


async def _exec(argv: list[str]) -> bool:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

"""One guest: QEMU with a kernel, three read-only disks, no network, and a port for results.

```
 qemu ── vda userland.squashfs      console ─► a file, whose end is shown when a guest ends early
      ── vdb modules.squashfs       port    ─► our pipe: what guest/session.py says, line by line
      ── vdc project.squashfs
```

setpriv ends QEMU when this process ends, however it ends.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Timer
from typing import IO

from kernel_image import KernelImage
from userland import Userland

MEMORY = 1024
_ACCELERATORS = {"tcg": "tcg,thread=multi", "kvm": "kvm"}
#: No spectre mitigations, which emulation pays for twice; panic=-1: a panic ends QEMU at once.
_APPEND = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|\r")


class Guests:
    """The QEMUs that run now: whoever leaves early ends them all."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: list[subprocess.Popen[str]] = []
        self._over = False

    def start(self, command: list[str], complaints: IO[bytes]) -> subprocess.Popen[str]:
        """Start one, whose caller waits for its end; after end() it is ended at once."""
        with self._lock:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us: we end it, and say so
            )
            self._running.append(process)
            if self._over:
                process.kill()
        return process

    def end(self) -> None:
        """End every guest, and those that start yet."""
        with self._lock:
            self._over = True
            for each in self._running:
                each.kill()


def has_kvm() -> bool:
    """Whether KVM works here, found by a machine that is turned off before it runs."""
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-nodefaults"]
    try:
        done = subprocess.run(
            [*command, "-display", "none", "-monitor", "stdio", "-S"],
            input=b"quit\n",
            capture_output=True,
            check=False,
            timeout=30,
        )
    except subprocess.TimeoutExpired:
        return False
    return not done.returncode


@dataclass(frozen=True)
class Machine:
    """What a guest is made of.  seconds: after which it is ended.  folder: for its console."""

    kernel: KernelImage
    userland: Userland
    project: Path
    folder: Path
    accelerator: str
    seconds: float

    @contextmanager
    def booted(self, guests: Guests) -> Iterator[Iterator[str]]:
        """Boot, and read what the session says, line by line, until the machine is off."""
        with (self.folder / "qemu").open("wb") as complaints:
            process = guests.start(self._command(), complaints)
        deadline = Timer(self.seconds, process.kill)
        deadline.daemon = True
        deadline.start()
        try:
            assert process.stdout is not None
            yield iter(process.stdout)
        finally:
            deadline.cancel()
            process.kill()
            process.communicate()

    def last_words(self, lines: int = 40) -> str:
        """The end of the console, and what QEMU itself complained of."""
        console = self.folder / "console"
        text = console.read_text(errors="replace") if console.exists() else ""
        complaint = (self.folder / "qemu").read_text(errors="replace")
        return "\n".join(_ESCAPES.sub("", text + complaint).splitlines()[-lines:])

    def _command(self) -> list[str]:
        accelerated = ["-accel", _ACCELERATORS[self.accelerator], "-cpu", "qemu64"]
        if self.accelerator == "kvm":
            accelerated[-1] = "host"
        clock = ""
        if self.accelerator == "tcg":
            # Emulated, the TSC is the host's, and a busy host spoils its calibration by the guest:
            # a guest's seconds were seen to be a third of the world's.
            clock = "tsc=unstable clocksource=acpi_pm"
        boot = ["-kernel", f"{self.kernel.folder}/vmlinuz"]
        boot += ["-initrd", f"{self.kernel.folder}/initramfs"]
        boot += ["-append", f"{_APPEND} {clock}"]
        disks: list[str] = []
        paths = (self.userland.image, self.kernel.folder / "modules.squashfs", self.project)
        for number, path in enumerate(paths):
            drive = f"file={path},if=none,id=d{number},format=raw,readonly=on"
            disks += ["-drive", drive, "-device", f"virtio-blk-pci,drive=d{number}"]
        ports = ["-serial", f"file:{self.folder}/console", "-device", "virtio-serial-pci"]
        ports += ["-chardev", "file,id=results,path=/dev/stdout"]
        ports += ["-device", "virtserialport,chardev=results,name=podwire.results"]
        size = ["-M", "q35", "-smp", "1", "-m", str(MEMORY)]
        bare = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]
        die = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
        entropy = ["-device", "virtio-rng-pci"]
        return [*die, *size, *accelerated, *bare, *boot, *disks, *ports, *entropy]

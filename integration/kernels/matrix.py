"""`make test-kernels`: the tests that ask the kernel, in a guest of each kernel.

```
 archive ─► kernel_image ─┐                     ┌─ guest/init, guest/start ─┐
            userland ─────┼─► machine (QEMU) ───┤                           │ as many as jobs
 checkout ─► project_disk ┘                     └─ guest/session ─► results ─► report
```

Needs no network but for what is not in the cache yet, and touches nothing outside it and a
temporary folder. Exit codes: 0 all is fine; 1 something failed; 2 it could not be run.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cache
import click
import machine
import report
import selection
from archive import Archive, ArchiveError, numbers
from kernel_image import KernelImage, kernel_image
from machine import Machine
from progress import Watch
from project_disk import project_disk
from results import Results
from rich.console import Console
from userland import Userland, UserlandError, userland

#: The oldest that we promise, those of Debian 12 and 13, one between, the newest there is.
KERNELS = "5.10,6.1,6.12,6.18,newest"
#: Boot and the imports before the first test, emulated on a machine that is busy.
_BOOT_SECONDS = 120
#: Packages of the userland that behave differently in another version.
_TOLD = ("nftables", "python3-bpfcc", "iproute2")
#: Of a table in a file.
_WIDTH = 140


@dataclass(frozen=True)
class Plan:
    """What is run, and with what."""

    kernels: Sequence[tuple[str, KernelImage]]
    userland: Userland
    groups: tuple[selection.Group, ...]
    accelerator: str
    jobs: int

    @property
    def seconds(self) -> float:
        """When a guest is given up."""
        return _BOOT_SECONDS + sum(each.seconds for each in self.groups)

    @property
    def words(self) -> str:
        """The userland: what of it matters, in words."""
        packages = [f"{each} {self.userland.version(each)}" for each in _TOLD]
        return f"{self.userland.suite} ({', '.join(packages)}), {self.accelerator}"


@click.command(
    epilog="Examples:\n\n  matrix.py --kernels 5.10,newest\n\n  matrix.py --groups ebpf --jobs 1"
    "\n\n  matrix.py --kernels 5.10 -- integration/node/test_masquerade.py -x"
)
@click.option(
    "--kernels", default=KERNELS, show_default=True, help="Versions, with commas between."
)
@click.option("--groups", default="", help="Groups of tests; all unless told.")
@click.option("--short", is_flag=True, help="Fewer tests: what fits into a few minutes.")
@click.option("--jobs", default=2, show_default=True, help="Guests at a time.")
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "tcg", "kvm"]),
    default="auto",
    show_default=True,
    help="auto: kvm where it works.",
)
@click.argument("tests", nargs=-1)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write results here, too.")
def main(
    kernels: str,
    groups: str,
    tests: tuple[str, ...],
    jobs: int,
    accelerator: str,
    path: Path | None,
    *,
    short: bool,
) -> None:
    """Run the kernel tests in a guest of each kernel, and print one table.

    TESTS are pytest's arguments, to run other tests than those of the groups.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    results: list[Results] = []
    words = ""
    try:
        with Watch(console) as watch:
            wanted = selection.chosen(tests) if tests else selection.groups(groups, short=short)
            plan = _plan(watch, kernels, wanted, jobs, accelerator)
            words = plan.words
            _run(watch, plan, results)
    except (ArchiveError, UserlandError, ValueError, subprocess.CalledProcessError) as error:
        Console(stderr=True).print(f"test-kernels: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        report.show(console, results, words)
        Console(stderr=True).print("test-kernels: interrupted; no guest is left")
        sys.exit(130)
    report.show(console, results, words)
    if path is not None:
        report.write(path, results, words)
    sys.exit(not all(each.fine for each in results))


def _plan(
    watch: Watch,
    kernels: str,
    groups: tuple[selection.Group, ...],
    jobs: int,
    accelerator: str,
) -> Plan:
    """Everything that can be wrong before a guest boots is found here."""
    archive = Archive(cache.FOLDER / "apt")
    _refresh(watch, archive)
    packages = _chosen(kernels, archive.kernels())
    watch.step("userland")
    debian = userland()
    images = []
    for package in packages:
        watch.step(package)
        images.append((package, kernel_image(archive, package)))
    if accelerator == "auto":
        accelerator = "kvm" if machine.has_kvm() else "tcg"
    return Plan(images, debian, groups, accelerator, jobs)


def _refresh(watch: Watch, archive: Archive) -> None:
    """Without a network, an old index will do: what it names may be in the cache."""
    watch.step("Debian's index")
    try:
        archive.refresh()
    except ArchiveError as error:
        if not archive.refreshed:
            raise
        watch.step(f"  it could not be refreshed, an older one is used: {error}")


def _chosen(kernels: str, there: dict[str, str]) -> list[str]:
    """The packages of a list of versions. Raises ValueError for one that is not in the archive."""
    newest = max(there, key=numbers)
    found: dict[str, None] = {}
    for each in filter(None, kernels.split(",")):
        version = newest if each == "newest" else each
        if version not in there:
            known = ", ".join(sorted(there, key=numbers))
            raise ValueError(f"Debian has no cloud kernel {version} any more; it has {known}")
        found[there[version]] = None
    if not found:
        raise ValueError("no kernel is wanted: name some, as in KERNELS=5.10,newest")
    return list(found)


def _run(watch: Watch, plan: Plan, results: list[Results]) -> None:
    """Boot each kernel. results: filled in the order of the kernels, also when interrupted."""
    names = tuple(each.name for each in plan.groups)
    with tempfile.TemporaryDirectory(prefix="podwire-kernels-") as name:
        folder = Path(name)
        watch.step("this checkout and its environment")
        project = project_disk(folder, plan.groups)
        pool = ThreadPoolExecutor(plan.jobs)
        guests = machine.Guests()
        try:
            started = []
            for package, image in plan.kernels:
                results.append(Results(image.version, package, names))
                guest = _machine(plan, folder, project, image)
                started.append(pool.submit(_guest, watch, guest, guests, results[-1]))
            for each in started:
                each.result()
        finally:
            guests.end()
            pool.shutdown(cancel_futures=True)


def _machine(plan: Plan, folder: Path, project: Path, image: KernelImage) -> Machine:
    own = folder / image.release
    own.mkdir()
    return Machine(image, plan.userland, project, own, plan.accelerator, plan.seconds)


def _guest(watch: Watch, guest: Machine, guests: machine.Guests, results: Results) -> None:
    began = time.monotonic()
    watch.boots(results)
    with guest.booted(guests) as lines:
        for raw in lines:
            if line := results.take(raw):
                watch.hears(results, line)
    results.seconds = time.monotonic() - began
    results.last_words = guest.last_words()
    watch.ends(results)


if __name__ == "__main__":
    main()

"""A kernel of Debian's archive as what QEMU boots: vmlinuz, an initramfs, its modules.

```
 linux-image-…-cloud-amd64 ──┬─► vmlinuz
 (and its parts)             ├─► modules.squashfs  usr/lib/modules/VERSION, boot/config-VERSION
 busybox-static ─────────────┴─► initramfs         guest/init, and the modules that it needs itself
```

The cloud kernel has every module of ours (nf_tables, veth, vxlan, cls_bpf) and of a small guest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cache
from archive import Archive

#: What the initramfs needs before it sees the disks, and the port that results go through.
_EARLY = ("virtio_pci", "virtio_blk", "squashfs", "overlay", "virtio_console")
_INIT = Path(__file__).parent / "guest/init"


@dataclass(frozen=True)
class KernelImage:
    """folder: vmlinuz, initramfs, modules.squashfs.  release: what uname says."""

    folder: Path

    @property
    def release(self) -> str:
        return (self.folder / "release").read_text().strip()

    @property
    def version(self) -> str:
        """The upstream version: 6.12.117, and of an older kind 6.1.192, where it is known."""
        return (self.folder / "version").read_text().strip()


def kernel_image(archive: Archive, package: str) -> KernelImage:
    """The image of a package, made if it is not in the cache. Raises ArchiveError."""
    recipe = f"{package} {_INIT.read_text()} {Path(__file__).read_text()}"
    name = package.removeprefix("linux-image-")
    return KernelImage(cache.folder(name, recipe, lambda into: _make(archive, package, into)))


def _make(archive: Archive, package: str, into: Path) -> None:
    files = into.parent / "files"
    archive.unpack([*archive.parts(package), "busybox-static"], files)
    found = sorted(files.glob("*/modules/*")) or sorted(files.glob("usr/lib/modules/*"))
    release = found[0].name
    (vmlinuz,) = (*files.glob("boot/vmlinuz-*"), *found[0].glob("vmlinuz"))
    vmlinuz.rename(into / "vmlinuz")
    tree = _modules(files, found[0], into.parent / "tree")
    _initramfs(files / "usr/bin/busybox", tree, release, into / "initramfs")
    squash(tree, into / "modules.squashfs")
    (into / "release").write_text(release)
    (into / "version").write_text(_version(into / "vmlinuz") or release)


def _modules(files: Path, modules: Path, tree: Path) -> Path:
    """modules below tree/usr/lib, as a root with merged /usr wants them; none is packed."""
    home = tree / "usr/lib/modules" / modules.name
    home.parent.mkdir(parents=True)
    (modules / "System.map").unlink(missing_ok=True)
    (tree / "lib").symlink_to("usr/lib")
    modules.rename(home)
    (tree / "boot").mkdir()
    for each in (*files.glob("boot/config-*"), home / "config"):
        if each.exists():
            shutil.copy(each, tree / "boot" / f"config-{modules.name}")
    packed = [str(each) for each in home.rglob("*.ko.xz")]
    if packed:
        subprocess.run(
            ["xargs", "-0", "-n64", "xz", "-d"], input="\0".join(packed), text=True, check=True
        )
    subprocess.run(["depmod", "-b", tree, modules.name], check=True)
    return tree


def _initramfs(busybox: Path, tree: Path, release: str, into: Path) -> None:
    """guest/init, busybox and a few modules, in the order in which they are to be loaded."""
    root = into.parent.parent / "initramfs"
    for each in ("bin", "modules", "proc", "sys", "dev", "disks", "new"):
        (root / each).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(_INIT, root / "init")
    order: list[str] = []
    for module in _EARLY:
        for path in _with_dependencies(tree, release, module):
            if path.name not in order:
                shutil.copy(path, root / "modules")
                order.append(path.name)
    (root / "modules/order").write_text("".join(f"{each}\n" for each in order))
    names = "\n".join(str(each.relative_to(root)) for each in sorted(root.rglob("*")))
    with into.open("wb") as file:
        archived = ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"]
        subprocess.run(archived, cwd=root, input=names.encode(), stdout=file, check=True)


def _with_dependencies(tree: Path, release: str, module: str) -> list[Path]:
    """A module's file after those it needs; none where it is built in."""
    ask = ["modprobe", "-d", str(tree), "-S", release, "--show-depends", module]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return [Path(words) for words in re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE)]


def _version(vmlinuz: Path) -> str:
    """Debian's version of it: 6.1.192 where uname says 6.1.0-56. "" where it does not say."""
    # The boot protocol: the word at 0x20e is where the version's text begins, less 512.
    data = vmlinuz.read_bytes()[:65536]
    start = int.from_bytes(data[0x20E:0x210], "little") + 512
    banner = data[start : data.index(b"\0", start)].decode()
    found = re.search(r"Debian (\d+\.\d+\.\d+)", banner)
    return found[1] if found else ""


def squash(tree: Path, into: Path) -> None:
    """A read-only disk of a tree, whose files are root's."""
    options = ["-comp", "lz4", "-noappend", "-quiet", "-no-progress", "-all-root"]
    subprocess.run(["mksquashfs", tree, into, *options], check=True, stdout=subprocess.DEVNULL)

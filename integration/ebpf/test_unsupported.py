"""What is missing is one sentence that says what to do; nothing is left behind by the attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from podwire_ebpf import compilation, features, hooks, sources, syscall
from podwire_ebpf import place as places
from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_plane

PACKAGE = Path(sources.__file__).parents[1]


def elsewhere(code: str, *before: str) -> str:
    """What some code prints, in a process of its own; before: commands that begin it."""
    path = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run(
        [*before, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=path,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UNMOUNT = """
import subprocess
while not subprocess.run(["umount", "/sys/fs/bpf"], capture_output=True).returncode:
    pass
"""
OPEN = """
from pathlib import Path
from podwire_ebpf.errors import Unsupported
from podwire_ebpf.plane import Place, open_plane
try:
    open_plane(Place(Path({cgroup!r}), Path({folder!r}))).close()
    print("opened")
except Unsupported as missing:
    print(missing)
"""


def opening(place: Place) -> str:
    return OPEN.format(cgroup=str(place.cgroup), folder=str(place.folder))


def test_no_cgroup(place: Place, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"there is no cgroup .*mount cgroup2"):
        open_plane(Place(tmp_path / "none", place.folder))
    with pytest.raises(Unsupported, match="is not on cgroup2"):
        open_plane(Place(tmp_path, place.folder))
    assert not place.folder.exists()


def test_the_machine_s_cgroup_is_not_a_node_s_that_is_a_namespace(place: Place) -> None:
    """Else an agent that is tried out in a namespace would answer every socket of the machine."""
    whole = places.cgroup_root()
    assert whole is not None
    anywhere = Place(whole, place.folder)
    told = elsewhere(opening(anywhere), "unshare", "--net")
    assert "has the sockets of the whole machine" in told
    assert "name a cgroup that holds this node's processes alone" in told
    assert places.no_cgroup(anywhere) == "", "whoever is in the machine's own may"


def test_no_bpffs(place: Place, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="is not on bpffs: name a folder below /sys/fs/bpf"):
        open_plane(Place(place.cgroup, tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_bpffs_itself_is_not_podwire_s(place: Place) -> None:
    with pytest.raises(Unsupported, match="name a folder below it"):
        open_plane(Place(place.cgroup, place.folder.parent))


def test_bpffs_is_mounted_where_it_belongs_and_nobody_has_done_it(place: Place) -> None:
    """In a mount namespace of its own, whose /sys has none; the log has a line of it."""
    here = Place(place.cgroup, Path("/sys/fs/bpf/podwire-test"))
    code = "import logging, sys; logging.basicConfig(stream=sys.stdout)\n" + UNMOUNT + opening(here)
    code += "mode = Path('/sys/fs/bpf').stat().st_mode & 0o777\n"
    code += "print(Path('/sys/fs/bpf/podwire-test').is_dir(), mode)"
    told, *rest = elsewhere(code, "unshare", "--mount").splitlines()
    assert "there was no bpffs at /sys/fs/bpf: mounted one" in told
    assert rest == ["opened", "True 448"]


def test_a_look_mounts_nothing(place: Place) -> None:
    code = UNMOUNT + (
        "from pathlib import Path\n"
        "from podwire_ebpf.place import Place, is_mounted_by_us, no_bpffs\n"
        f"here = Place(Path({str(place.cgroup)!r}), Path('/sys/fs/bpf/podwire-test'))\n"
        "print(no_bpffs(here, mount=False)); print(is_mounted_by_us(here.folder))\n"
        "print(Path('/sys/fs/bpf').is_mount(), is_mounted_by_us(Path('/tmp/none')))"
    )
    missing, *rest = elsewhere(code, "unshare", "--mount").splitlines()
    assert missing == "there is no bpffs at /sys/fs/bpf: run `mount -t bpf bpf /sys/fs/bpf`"
    assert rest == ["True", "False False"]


def test_no_rights(place: Place) -> None:
    told = elsewhere(
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" + opening(place)
    )
    assert (
        told == "bpf(2) is not permitted: run as root, or with the capabilities BPF and NET_ADMIN"
    )
    assert not place.folder.exists()


def test_no_bcc(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError('No module named bcc')\n")
    real = compilation._environment()
    there = f"{tmp_path}:{real['PYTHONPATH']}"
    monkeypatch.setattr(compilation, "_environment", lambda: {**real, "PYTHONPATH": there})
    with pytest.raises(Unsupported, match="install python3-bpfcc"):
        open_plane(place)
    assert "install python3-bpfcc" in compilation.no_compiler()
    assert [each.name.split("-")[0] for each in place.folder.iterdir()] == ["maps"]


def test_the_current_folder_lends_no_modules(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root starts the agent, or `podwire doctor`, where somebody has left files."""
    for name in ("bcc", "json", "podwire_ebpf"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert compilation.no_compiler() == ""
    plane = open_plane(place)
    plane.attach()
    assert plane.prove().ok
    plane.close()
    assert not (tmp_path / "ran").exists()


def test_no_headers(place: Place) -> None:
    code = (
        "import subprocess\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'none', '/usr/include'], check=True)\n"
        + opening(place)
    )
    told = elsewhere(code, "unshare", "--mount")
    assert told == "/usr/include/linux/bpf.h is missing: install linux-libc-dev"


def test_types_of_the_kernel_are_not_needed(place: Place) -> None:
    """BTF is missing where a kernel was built without it, and its programs are compiled anyway."""
    hidden = "import subprocess\nsubprocess.run(['mount', '-t', 'tmpfs', 'none', '/sys/kernel'])\n"
    looked = "import os\nprint(os.path.exists('/sys/kernel/btf'))\n"
    told = elsewhere(hidden + looked + opening(place), "unshare", "--mount")
    assert told.splitlines() == ["False", "opened"]


def test_a_machine_with_everything_lacks_nothing(place: Place) -> None:
    assert compilation.no_compiler() == ""
    assert features.no_rights() == ""
    assert places.no_cgroup(place) == ""
    assert places.no_bpffs(place, mount=False) == ""


def test_an_older_kernel_is_told_what_it_lacks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that knows neither getpeername's hooks nor the end of a socket."""
    real = syscall.load

    def load(kind: int, attach: int, code: bytes) -> int:
        if attach in {29, 30, 34}:
            raise OSError(22, "Invalid argument")
        return real(kind, attach, code)

    monkeypatch.setattr(syscall, "load", load)
    with pytest.raises(Unsupported) as raised:
        open_plane(place)
    told = str(raised.value)
    assert f"this kernel ({os.uname().release}) lacks" in told
    assert "the getpeername4 hook of cgroups (Linux 5.8)" in told
    assert "the sock_release hook of cgroups (Linux 5.9)" in told
    assert "connect4" not in told


def test_what_clang_says_is_told_short_and_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.Module, "text", lambda _: "int pw_connect4(void) { return none; }")
    with pytest.raises(BpfError, match=r"error: use of undeclared identifier 'none'") as raised:
        open_plane(place)
    assert not isinstance(raised.value, Unsupported)
    assert "int pw_connect4" in raised.value.details


def test_what_the_verifier_says_is_told_short_and_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "int pw_sock_release(struct bpf_sock *ctx) { return 7; }"
    monkeypatch.setattr(sources.Module, "text", lambda _: text)
    with pytest.raises(BpfError, match=r"pw_sock_release: .*R0") as raised:
        open_plane(place)
    assert "R0" in raised.value.details
    assert not [each for each in place.folder.iterdir() if "programs" in each.name]


def test_a_compiler_that_hangs_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_SECONDS", 0.2)
    with pytest.raises(BpfError, match="did not end within"):
        open_plane(place)
    assert not [each for each in place.folder.iterdir() if "programs" in each.name]


def test_no_hook_has_a_name_that_the_kernel_would_cut() -> None:
    assert max(len(hook.program) for hook in hooks.HOOKS) <= 15
    assert json.dumps([hook.program for hook in hooks.HOOKS]).isascii()

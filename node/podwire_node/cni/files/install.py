"""What the agent puts on its host: the conflist and the client. Each is always whole.

```
 write .NAME-xxxx.tmp in the same folder ─► fsync ─► rename to NAME ─► fsync the folder
```

* The same folder: a runtime that watches it sees a rename from elsewhere as a new file, which
  containerd does not read (containerd#11711). The name while it is written ends in nothing
  that a runtime reads.
* Never in place: a program that runs cannot be written ("text file busy"), and half a conflist
  makes a runtime refuse DEL too.
* Only when it differs: each new conflist makes the runtime reload, and hold back calls meanwhile.
* Who is already there may be a symbolic link or a folder: the rename replaces the one and refuses
  the other; neither is followed.
* Nothing here is ever removed: a node without a conflist is NotReady, and its pods cannot go.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from podwire_node.cni.files.conflist import Entry, read_conflist

CONFLIST = "10-podwire.conflist"
CLIENT = "podwire"

#: Where a built client may be: this checkout's, else where `make install` puts it.
CLIENT_PLACES = (
    Path(__file__).parents[4] / "cni-plugin/client/build/podwire",
    Path("/usr/libexec/podwire/podwire"),
)

#: What libcni, and so every runtime, takes for a configuration.
_READ = (".conf", ".conflist", ".json")

_PRIVATE = 0o600  # CIS Kubernetes benchmark 1.1.9; runtimes are root
_PROGRAM = 0o755

_MAX_CONFLIST = 64 * 1024


class ClientMissing(Exception):  # noqa: N818 - the word for it
    """There is no built client; the message says what to do."""


def install_conflist(folder: Path, content: bytes) -> bool:
    """Put the conflist into the runtime's folder; whether it had to be written.

    Raises OSError.
    """
    return _install(folder / CONFLIST, content, _PRIVATE)


def install_client(folder: Path, places: Sequence[Path] = CLIENT_PLACES) -> bool:
    """Put the client into the runtime's folder of plugins; whether it had to be written.

    places: where it may be, the first that is there counts. Raises ClientMissing, OSError.
    """
    return _install(folder / CLIENT, built_client(places), _PROGRAM)


def conflist_differs(folder: Path, content: bytes) -> bool:
    """Whether install_conflist would write. Raises OSError."""
    return not _is_installed(folder / CONFLIST, content, _PRIVATE)


def client_differs(folder: Path, places: Sequence[Path] = CLIENT_PLACES) -> bool:
    """Whether install_client would write. Raises ClientMissing, OSError."""
    return not _is_installed(folder / CLIENT, built_client(places), _PROGRAM)


def built_client(places: Sequence[Path] = CLIENT_PLACES) -> bytes:
    """The program, from the first place that has it. Raises ClientMissing, OSError."""
    for place in places:
        if place.is_file():
            return place.read_bytes()
    where = " or ".join(str(place) for place in places)
    raise ClientMissing(f"there is no CNI client in {where}: `make client` builds it")


def installed_entry(folder: Path) -> Entry:
    """What the conflist of ours in a runtime's folder says; nothing where there is none."""
    try:
        with (folder / CONFLIST).open("rb") as file:
            return read_conflist(file.read(_MAX_CONFLIST))
    except OSError:
        return Entry()


def rivals(folder: Path) -> list[str]:
    """Other networks' files that a runtime reads before ours, and so instead of it.

    Raises OSError.
    """
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    before = [each for each in found if each.name < CONFLIST and each.name.endswith(_READ)]
    return [each.name for each in before if each.is_file()]


def _install(path: Path, content: bytes, mode: int) -> bool:
    if _is_installed(path, content, mode):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return True


def _is_installed(path: Path, content: bytes, mode: int) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != mode:
            return False
        return status.st_size == len(content) and path.read_bytes() == content
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sync_folder(folder: Path) -> None:
    """Make the rename itself outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

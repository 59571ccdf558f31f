"""The control plane as a process: `python -m podwire_lab.control.controller --lab NAME`.

    manifests/  ─┐ inotify                     ┌─► objects/       what changed, nothing else
    reports/*/  ─┴─► Inputs ──► control.desired ┴─► problems.json  [{source, object, field, reason}]

Level-triggered: whatever woke it, it reads what is new, recomputes, and writes the difference.
What comes while it works is read in one go after it. A restart begins with objects/ as it stands,
so names, addresses and nodes stay. An unreadable or invalid file keeps what it last gave.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Self, TypeVar

import msgspec
from inotify_simple import INotify, flags

from podwire_core import typed
from podwire_core.delta import delta
from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.documents import MAX_FILE_BYTES, DocumentError, parse_documents
from podwire_core.files import write_json
from podwire_lab.control.desired import desired
from podwire_lab.control.manifests import Document, Manifest, read_manifest
from podwire_lab.folders import Folders
from podwire_lab.report import PodReport
from podwire_lab.workloads import LabPod

_EVENTS = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED

log = logging.getLogger("podwire.lab.controller")

T = TypeVar("T")

#: A file's bytes to what it holds, and what is wrong with parts of it. Raises ObjectError when
#: nothing of it can be used.
Reader = Callable[[Path, bytes], tuple[list[T], list[ObjectError]]]


# --------------------------------------------------------------------------------- input


@dataclass
class _File(Generic[T]):
    found: list[T] = field(default_factory=list)
    errors: list[ObjectError] = field(default_factory=list)


class Folder(Generic[T]):
    """Files of one folder, each read again only when it changed."""

    def __init__(self, path: Path, reader: Reader[T]) -> None:
        self.path = path
        self._reader = reader
        self._files: dict[str, _File[T]] = {}

    def read_all(self) -> None:
        """Read everything that is there, forget what is not."""
        for name in {entry.name for entry in os.scandir(self.path)} | self._files.keys():
            self.read(name)

    def read(self, name: str) -> None:
        """Read one file; what it last gave stays when it cannot be read."""
        if name.startswith(".") or Path(name).suffix not in {".json", ".yaml", ".yml"}:
            return
        path = self.path / name
        file = self._files.setdefault(name, _File())
        try:
            file.found, file.errors = self._reader(path, read_bounded(path))
        except FileNotFoundError:
            del self._files[name]
        except OSError as error:
            file.errors = [ObjectError(str(path), "", "", error.strerror or str(error))]
        except ObjectError as error:
            file.errors = [error]

    def found(self) -> Iterator[T]:
        """What the files hold, in the order of their names."""
        return (each for name in sorted(self._files) for each in self._files[name].found)

    def errors(self) -> Iterator[ObjectError]:
        """What is wrong with them."""
        return (each for name in sorted(self._files) for each in self._files[name].errors)


def read_bounded(path: Path) -> bytes:
    """A file's content, and one byte more than a reader takes, so that it sees the rest."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def read_manifests(path: Path, data: bytes) -> tuple[list[Manifest], list[ObjectError]]:
    """The manifests of one file. Raises ObjectError when none can be used."""
    found, errors = [], []
    try:
        documents = parse_documents(data, is_json=path.suffix == ".json")
    except DocumentError as error:
        raise ObjectError(str(path), "", "", str(error)) from error
    for document in documents:
        try:
            found.append(read_manifest(str(path), document))
        except ObjectError as error:
            errors.append(error)
    if errors and not found:
        raise errors[0]
    return found, errors


def read_report(path: Path, data: bytes) -> tuple[list[PodReport], list[ObjectError]]:
    """The report of one file. Raises ObjectError when it is none."""
    try:
        return [typed.decode(data, PodReport)], []
    except msgspec.DecodeError as error:
        raise ObjectError(str(path), "", "", str(error)) from error


class Inputs:
    """Everything the control plane reads, watched. Close it, or use it as a context manager."""

    def __init__(self, folders: Folders, nodes: list[str]) -> None:
        self.manifests = Folder(folders.manifests, read_manifests)
        self.reports = [Folder(folders.reports / node, read_report) for node in nodes]
        self._inotify = INotify(nonblocking=True)
        self._folders: tuple[Folder[Any], ...] = (self.manifests, *self.reports)
        self._watches: dict[int, Folder[Any]] = {}
        for folder in self._folders:
            watch = self._inotify.add_watch(str(folder.path), _EVENTS | _GONE)
            self._watches[watch] = folder
            folder.read_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inotify.close()

    def wait(self) -> None:
        """Sleep until something changed, and read it. Raises FeedError when a folder is gone."""
        select.select([self._inotify.fileno()], [], [])
        for watch, name in sorted(
            {self._changed(event) for event in self._inotify.read(timeout=0)}
        ):
            if watch in self._watches:
                self._watches[watch].read(name)
            else:
                for folder in self._folders:
                    folder.read_all()

    def _changed(self, event: tuple[int, int, int, str]) -> tuple[int, str]:
        watch, mask, _cookie, name = event
        if mask & _GONE:
            raise FeedError(f"{self._watches[watch].path}: the folder itself is gone")
        return watch, name  # an overflow of the queue has a watch that is none of ours

    def errors(self) -> tuple[ObjectError, ...]:
        """What cannot be used of all files."""
        return tuple(error for folder in self._folders for error in folder.errors())


# -------------------------------------------------------------------------------- output


class Outputs:
    """The objects as they stand in their folder, and the problems told."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self.objects: dict[str, Document] = {}
        self._problems: tuple[ObjectError, ...] | None = None
        for path in sorted(folders.objects.glob("*.json")):
            document = _read_object(path)
            if document is None:
                path.unlink(missing_ok=True)
            else:
                self.objects[path.name] = document

    def publish(self, objects: Mapping[str, Document], problems: tuple[ObjectError, ...]) -> None:
        """Write what differs."""
        change = delta(self.objects, objects)
        for name, document in {**change.added, **change.changed}.items():
            write_json(self._folders.objects / name, document)
            log.info("%s %s", "+" if name in change.added else "~", name.removesuffix(".json"))
        for name in sorted(change.removed):
            (self._folders.objects / name).unlink(missing_ok=True)
            log.info("- %s", name.removesuffix(".json"))
        self.objects = dict(objects)
        self._tell(problems)

    def _tell(self, problems: tuple[ObjectError, ...]) -> None:
        if problems == self._problems:
            return
        for problem in problems:
            if problem not in (self._problems or ()):
                log.warning("%s", problem)
        write_json(self._folders.root / "problems.json", [asdict(problem) for problem in problems])
        self._problems = problems


def _read_object(path: Path) -> Document | None:
    """A document that this process published before; None for what it never wrote like that."""
    try:
        document = typed.decode(read_bounded(path), Document)
        if document["kind"] == "Pod":
            typed.convert(document, LabPod)
        return document if isinstance(document["metadata"], dict) else None
    except (OSError, msgspec.DecodeError, KeyError):
        return None


# ------------------------------------------------------------------------------ the loop


def run(lab_name: str) -> None:
    """Keep objects/ as manifests and reports want them, for ever."""
    folders = Folders.of(lab_name)
    lab = folders.load()
    outputs = Outputs(folders)
    with Inputs(folders, [node.name for node in lab.nodes]) as inputs:
        log.info("lab %s: %d objects taken over", lab.name, len(outputs.objects))
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            reports = [report for folder in inputs.reports for report in folder.found()]
            result = desired(lab, list(inputs.manifests.found()), reports, outputs.objects, now)
            outputs.publish(result.objects, inputs.errors() + result.errors)
            inputs.wait()


def _end(_signal: int, _frame: FrameType | None) -> None:
    """Files are written whole or not at all, so any moment is a good one to end."""
    sys.exit(0)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="podwire_lab.control.controller", description="a lab's control"
    )
    parser.add_argument("--lab", required=True, help="the lab's name")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, _end)
    try:
        run(options.lab)
    except (FeedError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - a person reads the cause, not the way to it
        sys.exit(1)


if __name__ == "__main__":
    main()

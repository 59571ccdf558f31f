"""A folder of manifests as a feed, watched with inotify.

    *.yaml *.yml *.json     one or many documents a file, Lists included
    .hidden, other names    ignored: write to a hidden name and rename, and no one reads half

The folder is flat. Symbolic links are followed, so a mounted ConfigMap (whose `..data` link
moves when it changes) works: every event there rereads the folder.

What a reader may rely on: a file that cannot be parsed, and an object that cannot be
decoded, keep what they last gave; when two files hold one object, the first by name wins and
the other is an error; an object goes when its file goes or no longer holds it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from inotify_simple import INotify, flags

from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.decode import Kinds, decode, kind_of, name_of
from podwire_core.feed.documents import MAX_FILE_BYTES, DocumentError, parse_documents
from podwire_core.feed.interface import Batch
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.snapshot import AGENT_KINDS, Change, Kind

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 100_000

Identity = tuple[Kind, ObjectName]

_EVENTS = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.CREATE  # a link made in place is never closed for writing
    | flags.DELETE_SELF
    | flags.MOVE_SELF
)


@dataclass
class _File:
    """What one file holds: its objects in order, and what is wrong with it."""

    objects: dict[Identity, KubernetesObject] = field(default_factory=dict)
    errors: list[ObjectError] = field(default_factory=list)


class DirectoryFeed:
    """See the module's docstring. Close it, or use it as a context manager."""

    def __init__(self, folder: Path, kinds: Kinds = AGENT_KINDS) -> None:
        self._folder = folder
        self._kinds = kinds
        self._files: dict[str, _File] = {}
        self._given: dict[Identity, KubernetesObject] = {}
        self._reported: frozenset[ObjectError] = frozenset()
        self._watch_number: int | None = None
        self._pending: set[str] | None = None  # None: everything has to be read
        self._inotify = INotify(nonblocking=True)
        try:
            self._watch()
        except FeedError:
            self._inotify.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The inotify descriptor. Before the first read it may be silent: read once, then wait."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def read(self) -> Batch:
        """Changes since the last read (see feed.interface).

        Raises FeedError while the folder is gone; a read after it is back goes on from there.
        """
        if self._watch_number is None:
            self._watch()
        self._collect_events()
        for name in self._names_to_read():
            self._read_file(name)
        self._pending = set()
        return self._compare()

    # -------------------------------------------------------------- which files to read

    def _watch(self) -> None:
        try:
            self._watch_number = self._inotify.add_watch(str(self._folder), _EVENTS | flags.ONLYDIR)
        except OSError as error:
            reason = f"{error.strerror}: give a folder of manifests"
            raise FeedError(f"{self._folder}: {reason}") from error
        self._pending = None

    def _unwatch(self) -> None:
        """A folder that was moved away is still watched, under a number that is now stale."""
        with contextlib.suppress(OSError):
            self._inotify.rm_watch(self._watch_number)
        self._watch_number = None

    def _lost(self, reason: str) -> FeedError:
        """What to raise when the folder cannot be read; the next read begins anew."""
        self._unwatch()
        return FeedError(f"{self._folder}: {reason}")

    def _collect_events(self) -> None:
        for event in self._inotify.read(timeout=0):
            if event.wd not in {self._watch_number, -1}:
                continue  # of a watch that is gone (-1 is an overflow, which has none)
            if event.mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED):
                raise self._lost("the folder itself is gone")
            if event.mask & flags.Q_OVERFLOW or event.name.startswith(".."):
                self._pending = None
            elif self._pending is not None and _is_manifest(event.name):
                self._pending.add(event.name)

    def _names_to_read(self) -> Iterable[str]:
        if self._pending is not None:
            return sorted(self._pending)
        try:
            with os.scandir(self._folder) as entries:
                present = {entry.name for entry in entries if _is_manifest(entry.name)}
        except OSError as error:  # it went after its last event was read
            raise self._lost(error.strerror or str(error)) from error
        if len(present) > MAX_FILES:
            raise FeedError(f"{self._folder}: holds more than {MAX_FILES} manifests")
        return sorted(present | self._files.keys())

    # ------------------------------------------------------------------- reading one

    def _read_file(self, name: str) -> None:
        path = self._folder / name
        try:
            data = _read_bounded(path)
        except FileNotFoundError as error:
            if not self._folder.is_dir():  # else all its objects would seem to be deleted
                raise self._lost("the folder itself is gone") from error
            self._files.pop(name, None)
            return
        except OSError as error:
            self._keep(name, ObjectError(str(path), "", "", error.strerror or str(error)))
            return
        try:
            documents = parse_documents(data, is_json=path.suffix == ".json")
        except DocumentError as error:
            self._keep(name, ObjectError(str(path), "", "", str(error)))
            return
        self._files[name] = self._decode_all(str(path), documents, self._files.get(name, _File()))

    def _keep(self, name: str, error: ObjectError) -> None:
        """Leave what the file last gave in place, and say what is wrong with it now."""
        self._files.setdefault(name, _File()).errors = [error]

    def _decode_all(self, source: str, documents: list[dict[str, object]], before: _File) -> _File:
        file = _File()
        for document in documents:
            kind = kind_of(document, self._kinds)
            if kind is None:
                continue
            try:
                found = decode(document, kind, source)
                file.objects[kind, found.name] = found
            except ObjectError as error:
                file.errors.append(error)
                called = name_of(document, kind)
                if called and (kind, called) in before.objects:
                    file.objects[kind, called] = before.objects[kind, called]
        return file

    # ------------------------------------------------------------- what that amounts to

    def _compare(self) -> Batch:
        now: dict[Identity, KubernetesObject] = {}
        errors = [error for name in sorted(self._files) for error in self._files[name].errors]
        owner: dict[Identity, str] = {}
        for name in sorted(self._files):
            for identity, found in self._files[name].objects.items():
                if identity in now:
                    label = f"{identity[0].__name__} {identity[1]}"
                    reason = f"stands in {owner[identity]} already, which wins"
                    errors.append(ObjectError(str(self._folder / name), label, "", reason))
                else:
                    now[identity], owner[identity] = found, name
        changes = [Change(*identity, None) for identity in self._given if identity not in now]
        changes += [
            Change(*identity, found)
            for identity, found in now.items()
            if self._given.get(identity) != found
        ]
        fresh = tuple(error for error in errors if error not in self._reported)
        self._given, self._reported = now, frozenset(errors)
        return Batch(tuple(changes), fresh, standing=tuple(errors))


def _is_manifest(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix in SUFFIXES


def _read_bounded(path: Path) -> bytes:
    """A file's bytes, at most one more than the bound; a pipe or a device is an error."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not path.is_file():
            raise OSError(0, "is not a regular file")
        return file.read(MAX_FILE_BYTES + 1)

"""Settings from flags, the environment and one YAML file: what is in force, and who said so.

    flag  >  PODWIRE_… variable  >  file (--config, PODWIRE_CONFIG)  >  default

Every source is checked, also where another one wins, and every mistake is told: an operator
mends a file once. An empty variable counts as one that is not set.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import msgspec

from podwire_core.errors import PodwireError
from podwire_core.feed.documents import DocumentError, parse_documents
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.combinations import cautions, contradictions
from podwire_node.settings.rows import SETTINGS
from podwire_node.settings.setting import Setting

FILE_VARIABLE = "PODWIRE_CONFIG"
MAX_FILE_BYTES = 64 * 1024
_MAX_SHOWN = 60
_PREFIX = "PODWIRE_"
#: Variables of ours that other parts of podwire read, and its tests.
_OTHERS = re.compile(
    "PODWIRE_(CONFIG|LAB|ROLE|CONTAINER|NETNS_FD|REGENERATE|IMAGE_TEST|FAULT_[A-Z_]+)"
)
#: What Kubernetes puts into every pod for a Service that is called podwire, or podwire-…;
#: beside these it puts PODWIRE_PORT=tcp://….
_SERVICE_LINK = re.compile(r"PODWIRE_(.*_)?(SERVICE_(HOST|PORT)|PORT_[0-9]+_(TCP|UDP|SCTP))(_.*)?")
_SERVICE_URL = ("tcp://", "udp://", "sctp://")


class ConfigError(PodwireError):
    """Settings that cannot be used: one sentence for each mistake, a line each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))


class Source(NamedTuple):
    """A place that gives some settings.

    name: how a person knows it ("file /etc/podwire.yaml"). fields: what it calls a setting
    itself, where that is another word.
    """

    name: str
    values: Mapping[str, object]
    fields: Mapping[str, str] = {}

    def origin(self, key: str) -> str:
        """Where it gives this setting."""
        return f"{self.name}: {self.fields[key]}" if key in self.fields else self.name


#: The origin of a value that no source gives.
DEFAULT = "default"

#: Where nothing is said.
NOTHING = Source("", {})


class Settled(NamedTuple):
    """A value in force, and where it came from: a flag, a variable, a file, or "default"."""

    value: object
    origin: str


class Mistake(NamedTuple):
    """What is wrong, in a sentence. key: of the one setting it is about, or ""."""

    key: str
    sentence: str


@dataclass(frozen=True)
class InForce:
    """Settings by their key, in the order of SETTINGS, and all that is wrong with them.

    wrong: settings that a source gives a value that cannot be used, or that no source gives
    and that are needed: the first such source by key, "" for none. They have no value in force.
    warnings: what an agent runs with all the same.
    """

    settings: Mapping[str, Settled]
    noted: tuple[Mistake, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def mistakes(self) -> tuple[str, ...]:
        """Every mistake's sentence."""
        return tuple(mistake.sentence for mistake in self.noted)

    def mistakes_of(self, keys: Container[str]) -> list[str]:
        """The sentences about some settings; all of them where none could be read at all."""
        unread = not self.settings
        return [sentence for key, sentence in self.noted if unread or key in keys]

    def config(self) -> AgentConfig:
        """The settings as a value. Raises ConfigError, which names every mistake."""
        if self.mistakes:
            raise ConfigError(self.mistakes)
        return AgentConfig(
            **{row.words: self.settings[row.key].value for row in SETTINGS}  # type: ignore[arg-type]  # each row's reader gives its field's type
        )


def resolve(flags: Mapping[str, object], environ: Mapping[str, str]) -> InForce:
    """What is in force. flags: by AgentConfig's names, and `config`; None where not given."""
    path = flags.get("config") or environ.get(FILE_VARIABLE)
    try:
        file = read_file(Path(str(path))) if path else NOTHING
    except ConfigError as error:
        return InForce({}, (Mistake("", str(error)),))
    return settle(flags, environ, file)


def read_file(path: Path) -> Source:
    """The file's settings as YAML has them, unchecked. Raises ConfigError."""
    return Source(f"file {path}", {str(key): each for key, each in read_document(path).items()})


def read_document(path: Path) -> Mapping[str, object]:
    """The one document of a YAML file; nothing of an empty one. Raises ConfigError."""
    try:
        documents = parse_documents(_read(path), is_json=False)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except DocumentError as error:
        raise ConfigError([f"{path}: {error}"]) from error
    if len(documents) > 1:
        raise ConfigError([f"{path}: holds more than one document"])
    return documents[0] if documents else {}


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DocumentError("is no file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(f"is larger than {MAX_FILE_BYTES // 1024} KiB")
    return data


def settle(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Source,
    defaults: Source = NOTHING,
    called: Mapping[str, str] = {},
) -> InForce:
    """The strongest source of each setting, and every mistake of every source (pure).

    defaults: in place of the rows' own. called: flags by AgentConfig's names, where a command
    has other words for them.
    """
    mistakes = [Mistake("", sentence) for sentence in _unknown(file)]
    settings: dict[str, Settled] = {}
    wrong: dict[str, str] = {}
    for row in SETTINGS:
        given = _flag(row, flags, called) + _given(row, environ, (file, defaults))
        checked = [_check(row, each, mistakes) for each in given]
        if None in checked:
            wrong[row.key] = given[checked.index(None)].origin
        elif checked and checked[0] is not None:
            settings[row.key] = checked[0]
        elif row.default is not msgspec.NODEFAULT:
            settings[row.key] = Settled(row.default, DEFAULT)
        else:
            wrong[row.key] = ""
            ways = ", ".join((row.flag, *row.variables))
            needed = f"{row.key}: is needed: give {ways}, or {row.key} in the file"
            mistakes.append(Mistake(row.key, needed))
    warnings = _unknown_variables(environ)
    if not mistakes:
        config = InForce(settings).config()
        mistakes += [Mistake("", each) for each in _named(contradictions(config), settings)]
        warnings += _named(cautions(config), settings)
    return InForce(settings, tuple(mistakes), wrong, tuple(warnings))


def _named(sentences: Iterable[str], settings: Mapping[str, Settled]) -> Iterator[str]:
    """Sentences that begin with a key, with where its value came from."""
    for sentence in sentences:
        origin = settings[sentence.partition(":")[0]].origin
        yield f"{origin}: {sentence}" if origin != DEFAULT else sentence


def _flag(row: Setting, flags: Mapping[str, object], called: Mapping[str, str]) -> list[Settled]:
    if flags.get(row.words) is None:
        return []
    return [Settled(flags[row.words], called.get(row.words, row.flag))]


def _given(row: Setting, environ: Mapping[str, str], weaker: Iterable[Source]) -> list[Settled]:
    """What the sources but flags say of one setting, the strongest first."""
    found = [Settled(environ[name], name) for name in row.variables if environ.get(name)]
    found += [
        Settled(each.values[row.key], each.origin(row.key))
        for each in weaker
        if row.key in each.values
    ]
    return found


def _check(row: Setting, given: Settled, mistakes: list[Mistake]) -> Settled | None:
    """The value as it is meant; a sentence more among the mistakes where it cannot be."""
    try:
        return Settled(row.read(given.value), given.origin)
    except ValueError:
        sentence = f"{given.origin}: {row.key}: {_shown(given.value)}: {row.allowed}"
        mistakes.append(Mistake(row.key, sentence))
        return None


def _shown(value: object) -> str:
    """A value in a sentence: short, on one line, and without what may be a password."""
    text = repr(value)
    if "@" in text:
        return "(not shown, it may hold a password)"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _unknown(file: Source) -> list[str]:
    """Keys of the file that are no settings, each with the one that is meant, perhaps."""
    known = {row.key: row for row in SETTINGS}
    lower = {key.lower(): key for key in known}
    lower |= {row.words.replace("_", ""): row.key for row in SETTINGS}
    found = []
    for key in file.values:
        if key in known:
            continue
        near = get_close_matches(key.lower().replace("_", "").replace("-", ""), lower, 1)
        hint = f"did you mean {lower[near[0]]}?" if near else "`podwire config` lists them"
        found.append(f"{file.name}: {_shown(key)} is no setting: {hint}")
    return found


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that are meant for us and are no settings.

    Warnings, no mistakes: an agent's environment is not all its operator's, since Kubernetes
    adds one for each Service of its namespace.
    """
    known = [name for row in SETTINGS for name in row.variables] + [FILE_VARIABLE]
    found = []
    for name in sorted(environ):
        if name in known or not name.startswith(_PREFIX) or _OTHERS.fullmatch(name):
            continue
        if _SERVICE_LINK.fullmatch(name) or environ[name].startswith(_SERVICE_URL):
            continue
        near = get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else "`podwire agent --help` lists them"
        found.append(f"{_shown(name)} is no setting: {hint}")
    return found

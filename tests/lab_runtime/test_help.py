"""What `--help` says, of every command."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from podwire_lab.cli import lab
from podwire_node.cli import main


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    yield before
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name)


EVERY = [
    *((main, words) for words in commands(main)),
    *((lab, words) for words in commands(lab)),
]


@pytest.mark.parametrize(
    ("group", "words"), EVERY, ids=[" ".join((str(g.name), *words)) for g, words in EVERY]
)
def test_examples_stand_on_lines_of_their_own(group: click.Group, words: tuple[str, ...]) -> None:
    text = CliRunner().invoke(group, [*words, "--help"]).output
    assert "\\b" not in text
    assert "\b" not in text
    lines = [line.strip() for line in text.splitlines()]
    (at,) = (number for number, line in enumerate(lines) if line in {"Examples:", "Example:"})
    assert "podwire" in lines[at + 1]

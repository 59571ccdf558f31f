"""Which types the options of `podwire observe` mean, what they cannot, and words for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from drop_site import CHAIN, DB, FRONTEND, ground, logged, packet, tcp
from msgspec.structs import replace
from still_view import StillView

from podwire_node.cli import main
from podwire_node.control.client import AgentClient
from podwire_node.control.errors import ControlError
from podwire_node.control.server import Control
from podwire_node.observe.choice import choose
from podwire_node.observe.naming import make
from podwire_node.observe.ring import Ring
from podwire_node.observe.sockets import Hear
from podwire_node.observe.translations import Translations
from podwire_node.observe.verb import observe_verb

BOTH = ["drop", "trace-sock"]
WHY = "bcc cannot be imported: install python3-bpfcc"


@pytest.mark.parametrize(
    ("types", "verdicts", "services", "meant"),
    [
        ([], [], [], ["drop"]),
        ([], ["dropped"], [], BOTH),
        ([], ["DROPPED"], [], BOTH),
        ([], ["translated"], [], ["trace-sock"]),
        ([], ["dropped", "translated"], [], BOTH),
        ([], [], ["shop/api"], ["trace-sock"]),
        ([], ["dropped"], ["shop/api"], ["trace-sock"]),
        (["DROP"], ["dropped"], [], ["drop"]),
        (["trace-sock"], ["dropped"], ["shop/api"], ["trace-sock"]),
        (["drop", "trace-sock", "drop"], ["translated"], ["shop/api"], BOTH),
    ],
)
def test_a_verdict_alone_means_every_type_that_has_it(
    types: list[str], verdicts: list[str], services: list[str], meant: list[str]
) -> None:
    found = choose(types, verdicts, services)
    assert found.types == meant
    assert found.whichever is (not types and meant == BOTH), "what is named has to be there"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--type", "drop", "--verdict", "translated"), "--type drop has no verdict translated"),
        (("--type", "drop", "--service", "shop/api"), "use --pod with --type drop"),
        (("--verdict", "forwarded"), "only packets that policies drop"),
    ],
)
def test_what_no_record_can_be_is_an_error_of_usage(options: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(main, ["observe", *options])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


def test_a_name_without_namespace_is_told_what_it_meant() -> None:
    names = {"--pod": ["frontend", "shop/db"], "--service": ["api"]}
    told = choose(["drop"], [], []).nothing(1, names)
    assert told.endswith("--pod frontend is default/frontend; --service api is default/api")
    assert "default" not in choose([], [], []).nothing(1, {"--pod": ["shop/db"]})


def test_help_says_what_a_name_alone_is() -> None:
    told = " ".join(CliRunner().invoke(main, ["observe", "--help"]).output.split())
    assert "without NS it is one of namespace default" in told


def test_an_unknown_verdict_of_hubbles_is_refused_before_any_type() -> None:
    with pytest.raises(click.UsageError, match="what policies let through is not logged"):
        choose(["drop"], ["audit"], [])


# --------------------------------------------------------------- agents that lack a type


class FellBack:
    """A part whose programs could not be loaded: nftables serves."""

    backend, why = "nftables", WHY

    def observe(self, _: Hear) -> None:
        raise ControlError(f"no programs at sockets: {self.why}")

    def unobserve(self) -> None:
        """There is no flag."""

    def reached(self) -> int | None:
        """Nothing is."""
        return None


@pytest.fixture
def drops() -> Ring:
    found = make(logged(packet(FRONTEND, DB, 6, tcp(41320, 5432)), CHAIN), ground())
    assert found is not None
    ring = Ring()
    ring.add([found])
    return ring


@pytest.fixture
def translations() -> Iterator[Translations]:
    part = FellBack()
    made = Translations(StillView("node1"), part)  # type: ignore[arg-type]  # they answer what is asked
    with closing(made):
        yield made


@pytest.fixture
def path(drops: Ring, translations: Translations, tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "control/agent.sock"
    with closing(Control(found, {"observe": observe_verb(drops, translations)})):
        yield found


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["observe", "--socket", str(path), *words])


@pytest.mark.parametrize("options", [(), ("--follow",), ("--type", "drop")])
def test_an_agent_that_serves_by_nftables_says_so_at_once(
    path: Path, options: tuple[str, ...]
) -> None:
    done = run(path, "--type", "trace-sock", *options)
    assert done.exit_code == 1
    assert WHY in " ".join(done.output.split())
    assert "use --follow" not in done.output


def test_what_somebody_followed_before_is_shown_all_the_same(
    path: Path, drops: Ring, translations: Translations
) -> None:
    translations.ring.add([replace(drops.all().records[0], verdict="TRANSLATED")])
    done = run(path, "--type", "trace-sock")
    assert (done.exit_code, done.output.count("TRANSLATED")) == (0, 1)


def test_a_verdict_is_answered_by_what_the_agent_has(
    path: Path, translations: Translations, tmp_path: Path
) -> None:
    done = run(path, "--verdict", "dropped")
    assert (done.exit_code, done.output.count("DROPPED")) == (0, 1), "policies' drops alone"
    other = tmp_path / "other/agent.sock"
    with closing(Control(other, {"observe": observe_verb(None, translations)})):
        done = run(other, "--verdict", "dropped")
    assert done.exit_code == 1, "there is neither"
    assert "no component policy" in done.output
    assert WHY in " ".join(done.output.split())


def test_who_follows_a_verdict_hears_what_the_agent_has(path: Path) -> None:
    fields = {"follow": True, "whichever": True, "types": BOTH, "verdicts": ["DROPPED"]}
    answers = AgentClient(path).ask("observe", fields, stream=True)
    assert next(iter(answers))["verdict"] == "DROPPED"
    answers.close()  # type: ignore[attr-defined]  # a generator is a file's like

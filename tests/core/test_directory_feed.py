"""The directory feed: every change arrives, and no file can hurt."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podwire_core.errors import FeedError
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.feed.documents import MAX_ALIASES, MAX_FILE_BYTES
from podwire_core.feed.interface import Batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "objects"
    made.mkdir()
    return made


@pytest.fixture
def feed(folder: Path) -> Iterator[DirectoryFeed]:
    with DirectoryFeed(folder) as made:
        yield made


def pod(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def write(folder: Path, name: str, *objects: dict[str, Any]) -> None:
    (folder / name).write_text("\n---\n".join(json.dumps(each) for each in objects))


def seen(batch: Batch) -> list[str]:
    return sorted(str(change) for change in batch.changes)


def news(feed: DirectoryFeed) -> Batch:
    """The next batch, when the feed says there is one."""
    assert select.select([feed], [], [], 5)[0], "the feed stayed silent"
    return feed.read()


def test_the_first_read_gives_everything(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"), pod("two"))
    write(folder, "b.json", pod("three"))
    write(folder, "c.yml", pod("four"))
    assert seen(feed.read()) == [
        "+ Pod shop/four",
        "+ Pod shop/one",
        "+ Pod shop/three",
        "+ Pod shop/two",
    ]


def test_a_second_read_of_the_same_gives_nothing(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"))
    feed.read()
    write(folder, "a.yaml", pod("one"))
    assert news(feed) == Batch()


@pytest.mark.parametrize("how", ["write", "rename"])
def test_a_change_wakes_the_reader(folder: Path, feed: DirectoryFeed, how: str) -> None:
    write(folder, "a.yaml", pod("one"), pod("two"))
    feed.read()
    target = "a.yaml" if how == "write" else ".a.tmp"
    write(folder, target, pod("one", app="api"), pod("three"))
    if how == "rename":
        (folder / target).rename(folder / "a.yaml")
    assert seen(news(feed)) == ["+ Pod shop/one", "+ Pod shop/three", "- Pod shop/two"]


def test_objects_go_with_their_file(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"))
    feed.read()
    (folder / "a.yaml").unlink()
    assert seen(news(feed)) == ["- Pod shop/one"]


def test_an_object_may_move_to_another_file(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"))
    feed.read()
    write(folder, "b.yaml", pod("one"))
    (folder / "a.yaml").unlink()
    assert [change for change in news(feed).changes if change.new is None] == []


def test_lists_are_taken_apart(folder: Path, feed: DirectoryFeed) -> None:
    write(
        folder, "a.yaml", {"apiVersion": "v1", "kind": "PodList", "items": [pod("one"), pod("two")]}
    )
    assert seen(feed.read()) == ["+ Pod shop/one", "+ Pod shop/two"]


def test_other_kinds_and_other_names_are_ignored(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    write(folder, "a.txt", pod("one"))
    write(folder, ".hidden.yaml", pod("two"))
    (folder / "folder.yaml").mkdir()
    batch = feed.read()
    assert batch.changes == ()
    assert [error.reason for error in batch.errors] == ["Is a directory"]


def test_a_bad_object_is_one_error_and_the_rest_goes_on(folder: Path, feed: DirectoryFeed) -> None:
    bad = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": "x"}]},
    }
    write(folder, "a.yaml", pod("one"), bad, pod("two"))
    batch = feed.read()
    assert seen(batch) == ["+ Pod shop/one", "+ Pod shop/two"]
    (error,) = batch.errors
    assert (error.source, error.object, error.field) == (
        str(folder / "a.yaml"),
        "Service default/s",
        "spec.ports[0].port",
    )


def test_an_error_is_told_once(folder: Path, feed: DirectoryFeed) -> None:
    (folder / "a.yaml").write_text("a: [")
    assert len(feed.read().errors) == 1
    write(folder, "b.yaml", pod("one"))
    assert news(feed).errors == ()


def test_an_object_that_turns_bad_keeps_its_last_good_state(
    folder: Path, feed: DirectoryFeed
) -> None:
    write(folder, "a.yaml", pod("one", app="api"))
    feed.read()
    broken = pod("one")
    broken["status"] = {"podIP": "nonsense"}
    write(folder, "a.yaml", broken)
    batch = news(feed)
    assert batch.changes == ()
    assert [error.field for error in batch.errors] == ["status.podIP"]


def test_two_files_with_one_object_are_an_error_and_the_first_wins(
    folder: Path, feed: DirectoryFeed
) -> None:
    write(folder, "b.yaml", pod("one", file="b"))
    write(folder, "a.yaml", pod("one", file="a"))
    batch = feed.read()
    (change,) = batch.changes
    assert change.new is not None
    assert change.new.labels == {"file": "a"}
    assert [error.source for error in batch.errors] == [str(folder / "b.yaml")]


def test_standing_errors_are_told_at_every_read_until_they_are_mended(
    folder: Path, feed: DirectoryFeed
) -> None:
    (folder / "a.yaml").write_text("a: [")
    first = feed.read()
    assert first.standing == first.errors != ()
    write(folder, "b.yaml", pod("one"))
    second = news(feed)
    assert (second.errors, second.standing) == ((), first.errors)
    write(folder, "a.yaml", pod("two"))
    assert news(feed).standing == ()


def test_an_error_goes_with_its_file(folder: Path, feed: DirectoryFeed) -> None:
    (folder / "a.yaml").write_text("a: [")
    assert len(feed.read().standing) == 1
    (folder / "a.yaml").unlink()
    assert news(feed) == Batch()


def test_objects_may_share_parts_with_aliases_and_merge_keys(
    folder: Path, feed: DirectoryFeed
) -> None:
    (folder / "a.yaml").write_text("""
apiVersion: v1
kind: List
items:
- &one {apiVersion: v1, kind: Pod, metadata: {name: one, labels: &labels {app: api}}}
- <<: *one
  metadata: {name: two, labels: {<<: *labels, tier: web}}
""")
    labels = {change.name.name: change.new and change.new.labels for change in feed.read().changes}
    assert labels == {"one": {"app": "api"}, "two": {"app": "api", "tier": "web"}}


def aliases(count: int) -> bytes:
    return b"a: &a [x]\nb: [" + b", ".join([b"*a"] * count) + b"]\n"


LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("t"))
)


def doubled(levels: int, first: str, level: str) -> bytes:
    """A list whose every item holds the one before twice."""
    rows = [f"- &a{number} {level % (2 * (f'*a{number - 1}',))}" for number in range(1, levels)]
    return "\n".join([f"- &a0 {first}", *rows]).encode()


LISTS = b"kind: List\nitems:\n" + doubled(45, "{kind: Pod}", "{kind: List, items: [%s, %s]}")
KINDS = b"items:\n" + doubled(40, "[x]", "[%s, %s]") + b"\nkind: *a39\n"
MERGES = b"items:\n" + doubled(40, "{x: y}", "{<<: [%s, %s]}")
#: Each is shallow, and each holds the one before.
DEEP = "\n".join(["- &a0 x"] + [f"- &a{n} [[[[*a{n - 1}]]]]" for n in range(1, 90)]).encode()
NESTED_LISTS = b'{"kind": "List", "items": [' * 200 + b"]}" * 200


@pytest.mark.parametrize(
    ("promise", "data", "reason"),
    [
        ("a List in itself", b"&x\nkind: List\nitems: [*x]", "alias of what it stands in"),
        ("a mapping merged into itself", b"&x\n<<: *x\n", "alias of what it stands in"),
        ("Lists that double", LISTS, "stand for over"),
        ("a kind that doubles", KINDS, "stand for over"),
        ("merges that double", MERGES, "stand for over"),
        ("aliases that nest", DEEP, "nests deeper"),
        ("an unknown alias", b"a: *nobody", "is not YAML"),
        ("Lists in Lists", NESTED_LISTS, "nests deeper"),
        ("too many objects", b"kind: List\nitems: [" + b"{}," * 20_001 + b"]", "more than 20000"),
        ("a bool that is none", b'a: !!bool "x"', "does not fit its tag"),
        ("a time that is none", b"a: !!timestamp foo", "does not fit its tag"),
        ("an empty number", b'a: !!int ""', "does not fit its tag"),
        ("a sign for a number", b'a: !!int "-"', "does not fit its tag"),
        ("a line for a number", b'a: !!int "_"', "is not YAML"),
        ("a number of base 60 that takes hours", b"a: 1" + b":1" * 2**20, "a number is longer"),
        ("half written", b"apiVersion: v1\nkind: Pod\nmetadata: {na", "is not YAML"),
        ("binary", bytes(range(256)) * 10, "is not UTF-8"),
        ("zeros", b"\0" * 4096, "is not YAML"),
        ("huge", b"#" * (MAX_FILE_BYTES + 1), "is larger than"),
        ("a billion laughs", LAUGHS, "YAML aliases"),
        ("one alias too many", aliases(MAX_ALIASES + 1), "YAML aliases"),
        ("nested without end", b"[" * 100_000, "nests deeper"),
        ("a scalar", b"just words", "holds a str"),
        ("a tag that runs code", b"!!python/object/apply:os.system ['true']", "is not YAML"),
        ("tabs", b"a:\n\t- b", "line 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_read_is_one_error(
    folder: Path, feed: DirectoryFeed, promise: str, data: bytes, reason: str
) -> None:
    write(folder, "good.yaml", pod("one"))
    (folder / "bad.yaml").write_bytes(data)
    batch = feed.read()
    assert seen(batch) == ["+ Pod shop/one"], promise
    (error,) = batch.errors
    assert error.source == str(folder / "bad.yaml")
    assert reason in error.reason


def test_a_file_that_turns_unreadable_keeps_what_it_gave(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"))
    feed.read()
    (folder / "a.yaml").write_bytes(b"\xff\xfe half")
    batch = news(feed)
    assert batch.changes == ()
    assert len(batch.errors) == 1
    write(folder, "a.yaml", pod("one"), pod("two"))
    assert seen(news(feed)) == ["+ Pod shop/two"]


def test_bad_json_is_named_as_json(folder: Path, feed: DirectoryFeed) -> None:
    (folder / "a.json").write_text('{"kind": ')
    assert [error.reason[:11] for error in feed.read().errors] == ["is not JSON"]


def test_dates_in_yaml_stay_text(folder: Path, feed: DirectoryFeed) -> None:
    (folder / "a.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: x, creationTimestamp: 2026-01-02T03:04:05Z}}"
    )
    (change,) = feed.read().changes
    assert change.new is not None
    assert change.new.metadata.creation_timestamp == "2026-01-02T03:04:05Z"


def test_a_pipe_in_the_folder_does_not_block(folder: Path, feed: DirectoryFeed) -> None:
    os.mkfifo(folder / "pipe.yaml")
    write(folder, "a.yaml", pod("one"))
    batch = feed.read()
    assert seen(batch) == ["+ Pod shop/one"]
    assert [error.reason for error in batch.errors] == ["is not a regular file"]


def test_a_mounted_config_map_that_moves_is_read_anew(folder: Path, feed: DirectoryFeed) -> None:
    for version in ("..v1", "..v2"):
        (folder / version).mkdir()
        write(folder / version, "a.yaml", pod(f"pod{version[2:]}"))
    (folder / "..data").symlink_to("..v1")
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    assert seen(feed.read()) == ["+ Pod shop/podv1"]
    (folder / "..tmp").symlink_to("..v2")
    (folder / "..tmp").rename(folder / "..data")
    assert seen(news(feed)) == ["+ Pod shop/podv2", "- Pod shop/podv1"]


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="No such file or directory: give a folder"):
        DirectoryFeed(tmp_path / "nowhere")


def test_a_folder_that_goes_and_comes_back_gives_a_delta(folder: Path, feed: DirectoryFeed) -> None:
    write(folder, "a.yaml", pod("one"), pod("two"))
    feed.read()
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FeedError, match="gone"):
        news(feed)
    with pytest.raises(FeedError, match="No such file"):
        feed.read()
    moved.rename(folder)
    write(folder, "a.yaml", pod("one"))
    assert seen(feed.read()) == ["- Pod shop/two"]


@pytest.mark.parametrize("everything", [True, False])
def test_a_folder_that_goes_while_it_is_read_takes_nothing_away(
    folder: Path, feed: DirectoryFeed, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    write(folder, "a.yaml", pod("one"))
    feed.read()
    write(folder, "..data" if everything else "a.yaml", pod("one"))
    collect, elsewhere = feed._collect_events, folder.with_name("elsewhere")

    def collect_and_lose() -> None:
        collect()
        folder.rename(elsewhere)

    monkeypatch.setattr(feed, "_collect_events", collect_and_lose)
    with pytest.raises(FeedError, match=r"No such file|gone"):
        feed.read()
    monkeypatch.undo()
    elsewhere.rename(folder)
    assert feed.read() == Batch()


@pytest.mark.parametrize("key", ["kind", "apiVersion", "namespace"])
def test_a_key_that_is_no_text_is_not_read_as_text(
    folder: Path, feed: DirectoryFeed, key: str
) -> None:
    bad = pod("bad")
    (bad["metadata"] if key == "namespace" else bad)[key] = ["List"]
    write(folder, "a.yaml", bad, pod("one"))
    batch = feed.read()
    assert seen(batch) == ["+ Pod shop/one"]
    assert [error.object for error in batch.errors] == (
        ["Pod without a name"] if key == "namespace" else []
    )


def test_many_files_are_read_in_one_go(folder: Path, feed: DirectoryFeed) -> None:
    feed.read()
    for number in range(500):
        write(folder, f"{number}.json", pod(f"pod{number}"))
    assert len(news(feed).changes) == 500
    for number in range(500):
        (folder / f"{number}.json").unlink()
    assert len(news(feed).changes) == 500

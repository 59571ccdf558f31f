"""A chain of plugins is called as libcni calls it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from podwire_lab.kubelet.cni_client import Attachment, CniClient, CniError
from podwire_lab.kubelet.networks import NetworkList, NotInstalledError, first_of

POD = Attachment("shop", "web", "u1", "/run/netns/x")

#: A plugin that tells what it was called with, and adds its name to the result.
_PLUGIN = """#!{python}
import json, os, sys
config = json.load(sys.stdin)
verb = os.environ["CNI_COMMAND"]
with open("{log}", "a") as log:
    log.write(json.dumps([verb, config]) + "\\n")
if os.path.exists("{log}.fails." + config["type"]):
    print(json.dumps({{"code": 11, "msg": "not now", "details": config["type"]}}))
    sys.exit(1)
if verb == "ADD":
    first = {{"cniVersion": "1.1.0", "ips": [{{"address": "10.0.0.5/32"}}]}}
    before = config.get("prevResult", first)
    print(json.dumps({{**before, "seen": [*before.get("seen", []), config["type"]]}}))
"""


class Plugins:
    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        self.network: NetworkList | None = NetworkList(
            "net", ({"type": "one", "mtu": 1400}, {"type": "two"}), "1.1.0"
        )
        for name in ("one", "two"):
            (folder / name).write_text(_PLUGIN.format(python=sys.executable, log=self.log))
            (folder / name).chmod(0o700)

    def current(self) -> NetworkList:
        if self.network is None:
            raise NotInstalledError("none there")
        return self.network

    async def ready(self) -> None:
        """There it is."""

    @property
    def client(self) -> CniClient:
        return CniClient(self, self.folder / "memory", self.folder)

    def add(self) -> tuple[str, ...]:
        return asyncio.run(self.client.add(POD))

    def delete(self) -> None:
        asyncio.run(self.client.delete(POD))

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        rows = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [(verb, config) for verb, config in map(json.loads, rows)]

    def fails(self, name: str) -> None:
        (self.folder / f"calls.fails.{name}").touch()


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


def test_add_goes_down_the_chain_and_passes_results_on(plugins: Plugins) -> None:
    assert plugins.add() == ("10.0.0.5",)
    (verb, one), (_, two) = plugins.calls()
    assert verb == "ADD"
    assert one == {"type": "one", "mtu": 1400, "name": "net", "cniVersion": "1.1.0"}
    assert two["prevResult"]["seen"] == ["one"]


def test_delete_goes_up_the_chain_with_the_final_result(plugins: Plugins) -> None:
    plugins.add()
    plugins.calls()
    plugins.delete()
    rows = [(verb, row["type"], row["prevResult"]["seen"]) for verb, row in plugins.calls()]
    assert rows == [("DEL", "two", ["one", "two"]), ("DEL", "one", ["one", "two"])]


def test_delete_uses_the_configuration_of_its_add(plugins: Plugins) -> None:
    plugins.add()
    plugins.calls()
    plugins.network = None
    plugins.delete()
    assert [row["type"] for _, row in plugins.calls()] == ["two", "one"]


def test_a_pod_that_was_never_added_needs_no_plugin_to_go(plugins: Plugins) -> None:
    plugins.network = None
    plugins.delete()
    assert plugins.calls() == []


def test_delete_twice_calls_once(plugins: Plugins) -> None:
    plugins.add()
    plugins.delete()
    plugins.calls()
    plugins.delete()
    assert plugins.calls() == []


def test_a_half_done_add_is_undone_whole(plugins: Plugins) -> None:
    plugins.fails("two")
    with pytest.raises(CniError, match=r"CNI ADD: not now: two"):
        plugins.add()
    plugins.calls()
    (plugins.folder / "calls.fails.two").unlink()
    plugins.delete()
    assert [row["type"] for _, row in plugins.calls()] == ["two", "one"]


def test_a_delete_that_failed_is_done_again(plugins: Plugins) -> None:
    plugins.add()
    plugins.fails("one")
    for _ in range(2):
        with pytest.raises(CniError, match="CNI DEL: not now: one"):
            plugins.delete()


def test_without_a_network_add_says_what_is_missing(plugins: Plugins) -> None:
    plugins.network = None
    with pytest.raises(CniError, match="network not ready: none there"):
        plugins.add()


def test_a_plugin_that_is_not_there_is_named(plugins: Plugins) -> None:
    (plugins.folder / "two").unlink()
    with pytest.raises(CniError, match="no plugin 'two'"):
        plugins.add()


# --------------------------------------------------------------------- which one is in force


def conflist(name: str) -> str:
    return json.dumps({"cniVersion": "1.1.0", "name": name, "plugins": [{"type": "one"}]})


def test_the_first_file_by_name_that_can_be_read_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "00-broken.conflist").write_text("{")
    (tmp_path / "05-note.txt").write_text("not one")
    (tmp_path / "10-podwire.conflist").write_text(conflist("ours"))
    (tmp_path / "20-other.conflist").write_text(conflist("other"))
    found, problem = first_of(tmp_path)
    assert found is not None
    assert (found.name, problem) == ("ours", "")


def test_a_single_plugin_s_file_is_a_chain_of_one(tmp_path: Path) -> None:
    row = {"cniVersion": "1.0.0", "name": "single", "type": "one", "mtu": 1400}
    (tmp_path / "10-single.conf").write_text(json.dumps(row))
    found, _ = first_of(tmp_path)
    assert found is not None
    assert (found.name, found.plugins) == ("single", (row,))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "no network configuration", id="nothing"),
        pytest.param("{", "10-x.conflist: ", id="no JSON"),
        pytest.param('{"name": "", "plugins": [{"type": "a"}]}', "`name`: empty", id="no name"),
        pytest.param('{"name": "n", "plugins": []}', "1 to 32", id="no plugins"),
        pytest.param(
            '{"name": "n", "plugins": [{"type": "../a"}]}', "is no plugin's type", id="a path"
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, words: str) -> None:
    if content:
        (tmp_path / "10-x.conflist").write_text(content)
    found, problem = first_of(tmp_path)
    assert found is None
    assert words in problem


def test_a_folder_that_is_gone_is_a_network_that_is_missing(tmp_path: Path) -> None:
    assert first_of(tmp_path / "gone")[0] is None

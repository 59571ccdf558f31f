"""`podwire leases` reads what CNI calls wrote, for people and for programs."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from podwire_cni.attachment import Attachment
from podwire_cni.leases import FILE_NAME, Leases, boot_id
from podwire_cni.ports import PortMapping
from podwire_cni.ranges import AddressRange
from podwire_node.cli import main
from podwire_node.leases.tables import MOST_RESTING, age

RANGES = [AddressRange(ipaddress.ip_network(text)) for text in ("10.244.1.0/24", "fd00::/64")]
NAME = "ab" * 32


def leases(*arguments: str | Path, **environ: str) -> Result:
    environment = {"COLUMNS": "80", "PODWIRE_CONFIG": "", **environ}
    return CliRunner().invoke(main, ["leases", *map(str, arguments)], env=environment)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Two pods, one of them with ports, and one that went."""
    ports = [PortMapping(8080, 80, "tcp"), PortMapping(53, 5353, "udp", "::")]
    with Leases(tmp_path, boot_id()) as database:
        for number in range(3):
            attachment = Attachment("podnet", f"{number}{NAME}", "eth0")
            asked = ports if number == 0 else ()
            database.acquire(attachment, f"default/web-{number}", RANGES, 30, ports=asked)
        database.release(attachment)
    return tmp_path


def test_a_table_that_80_columns_hold(state_dir: Path) -> None:
    result = leases("--state-dir", state_dir)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    for shown in (
        "default/web-0",
        "10.244.1.2",
        "fd00::2",
        "0abababababa ",
        "8080 → 80",
        "[::]:53 → 5353/udp",
        "2 attachments, 4 addresses; 2 given back",
    ):
        assert shown in result.output
    assert "web-2" not in result.output


def test_columns_that_say_nothing_are_left_out(state_dir: Path) -> None:
    header = leases("--state-dir", state_dir).output.splitlines()[1]
    assert [word.strip() for word in header.strip("┃").split("┃")] == [
        "Pod",
        "Addresses",
        "Container",
        "Host ports",
        "Age",
    ]


def test_a_second_network_and_interface_have_columns(state_dir: Path) -> None:
    with Leases(state_dir, boot_id()) as database:
        database.acquire(Attachment("other", "9", "net1"), "9", RANGES, 30)
    output = leases("--state-dir", state_dir).output
    assert "Network" in output
    assert "net1" in output
    assert max(map(len, output.splitlines())) <= 80
    assert "podnet" not in leases("--state-dir", state_dir, "--network", "other").output


def test_json_has_all_of_it(state_dir: Path) -> None:
    document = json.loads(leases("--state-dir", state_dir, "--json").output)
    assert document["stateDir"] == str(state_dir)
    first, second = document["leases"]
    assert second["ports"] == []
    assert isinstance(first.pop("allocated"), float)
    assert first == {
        "network": "podnet",
        "container": f"0{NAME}",
        "interface": "eth0",
        "link": Attachment("podnet", f"0{NAME}", "eth0").host_name,
        "pod": "default/web-0",
        "addresses": ["10.244.1.2", "fd00::2"],
        "ports": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "::"},
        ],
    }
    assert {row["address"] for row in document["resting"]} == {"10.244.1.4", "fd00::4"}


def test_many_resting_addresses_are_counted_and_not_all_shown(state_dir: Path) -> None:
    with Leases(state_dir, boot_id()) as database:
        for number in range(10, 20):
            attachment = Attachment("podnet", str(number), "eth0")
            database.acquire(attachment, "default/web", RANGES, 30)
            database.release(attachment)
    output = leases("--state-dir", state_dir).output
    assert f"22 given back, the last {MOST_RESTING} above" in output
    assert len(json.loads(leases("--state-dir", state_dir, "--json").output)["resting"]) == 22


def test_no_leases_is_no_error_and_says_where_it_looked(tmp_path: Path) -> None:
    environ = {"PODWIRE_CNI_STATE_DIR": f"{tmp_path}/none"}
    result = leases(**environ)
    assert result.exit_code == 0
    assert f"no pod has an address in {tmp_path}/none" in result.output.replace("\n", "")
    assert not (tmp_path / "none").exists()
    document = json.loads(leases("--json", **environ).output)
    assert (document["leases"], document["resting"]) == ([], [])


def test_the_folder_comes_from_the_agents_settings(state_dir: Path, tmp_path: Path) -> None:
    assert "web-0" in leases(PODWIRE_CNI_STATE_DIR=str(state_dir)).output
    file = tmp_path / "config.yaml"
    file.write_text(f"node: n1\ncniStateDir: {state_dir}\n")
    assert "web-0" in leases("--config", file).output


def test_a_file_of_settings_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    result = leases("--config", tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert "none.yaml: cannot be read" in result.output


@pytest.mark.parametrize("more", [(), ("--json",), ("--check",)])
def test_a_folder_that_somebody_names_has_to_be_there(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    result = leases("--state-dir", tmp_path / "none", *more)
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path}/none: there is no such folder\n"


def test_a_network_without_pods_shows_nothing_of_others(state_dir: Path) -> None:
    output = leases("--state-dir", state_dir, "--network", "nope").output
    assert "there are pods of podnet" in output
    assert "given back" not in output
    one = leases("--state-dir", state_dir, "--network", "podnet").output
    assert "2 attachments, 4 addresses\n" in one


def test_a_container_without_a_name_has_none(tmp_path: Path) -> None:
    with Leases(tmp_path, boot_id()) as database:
        database.acquire(Attachment("podnet", NAME, "eth0"), NAME, RANGES[:1], 30)
    output = leases("--state-dir", tmp_path).output
    assert NAME not in output
    assert "1 attachment, 1 address\n" in output
    (row,) = json.loads(leases("--state-dir", tmp_path, "--json").output)["leases"]
    assert (row["pod"], row["container"]) == ("", NAME)


def test_a_damaged_database_is_one_error_that_says_what_to_do(state_dir: Path) -> None:
    (state_dir / FILE_NAME).write_bytes(b"junk" * 1000)
    result = leases("--state-dir", state_dir)
    assert result.exit_code == 1
    assert "it is damaged" in result.output
    assert "drain the node" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m00s"),
        (303, "5m03s"),
        (7620, "2h07m"),
        (86400 * 3 + 3600 * 4, "3d04h"),
        (86400 * 400, "400d00h"),
    ],
)
def test_an_age_has_two_units(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_help_has_examples() -> None:
    assert "podwire leases --network podnet --json" in leases("--help").output

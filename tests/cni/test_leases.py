"""The lease database: idempotent, all or nothing, never two owners, never blocked for ever."""

import ipaddress
import multiprocessing
import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.errors import AddressesExhausted, InputOutputFailed, TryAgain
from podwire_cni.leases import FILE_NAME, Leases
from podwire_cni.ranges import AddressRange

V4 = AddressRange(ipaddress.ip_network("10.244.1.0/24"))
V6 = AddressRange(ipaddress.ip_network("fd00::/64"))
TINY = AddressRange(ipaddress.ip_network("10.244.1.0/30"))
BOTH = (V4, V6)


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pod(number: int, network: str = "podnet") -> Attachment:
    return Attachment(network, f"container-{number}", "eth0")


def addresses(
    leases: Leases, number: int, ranges: Sequence[AddressRange] = BOTH, network: str = "podnet"
) -> list[str]:
    lease = leases.acquire(pod(number, network), f"default/web-{number}", ranges, cooldown=30)
    return [str(address) for address in lease.addresses]


def acquire_in_a_process(directory: str, number: int) -> list[str]:
    with Leases(Path(directory), "boot") as leases:
        return addresses(leases, number)


def test_both_families_come_together_and_read_alike(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        assert addresses(leases, 1) == ["10.244.1.2", "fd00::2"]
        assert addresses(leases, 2) == ["10.244.1.3", "fd00::3"]


def test_addresses_come_in_the_order_of_the_ranges(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        assert addresses(leases, 1, (V6, V4)) == ["fd00::2", "10.244.1.2"]
        assert addresses(leases, 1, (V4, V6)) == ["10.244.1.2", "fd00::2"]


def test_asking_again_gives_the_same_addresses(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        assert addresses(leases, 1) == addresses(leases, 1)
    with Leases(tmp_path, "boot") as leases:
        assert addresses(leases, 1) == ["10.244.1.2", "fd00::2"]


def test_a_node_with_a_new_range_gives_addresses_of_the_new_one(tmp_path: Path) -> None:
    other = AddressRange(ipaddress.ip_network("10.244.9.0/24"))
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1, (V4,))
        assert addresses(leases, 2, (other,)) == ["10.244.9.2"]
        assert addresses(leases, 1, (other,)) == ["10.244.9.3"]


def test_two_networks_never_share_an_address(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        assert addresses(leases, 1, network="a") != addresses(leases, 1, network="b")


def test_a_second_family_that_is_exhausted_gives_back_the_first(tmp_path: Path) -> None:
    narrow = AddressRange(ipaddress.ip_network("fd00::/126"))
    with Leases(tmp_path, "boot") as leases:
        for number in (1, 2):
            addresses(leases, number, (V4, narrow))
        with pytest.raises(AddressesExhausted, match="fd00::/126: 2 of 2 leased"):
            addresses(leases, 3, (V4, narrow))
        assert leases.find(pod(3)) is None
        assert addresses(leases, 4, (V4,)) == ["10.244.1.4"]


def test_exhaustion_counts(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1, (TINY,))
        with pytest.raises(AddressesExhausted) as caught:
            addresses(leases, 2, (TINY,))
    assert caught.value.message == "no address left in 10.244.1.0/30: 1 of 1 leased"
    assert caught.value.details == "0 cooling down"


def test_a_released_address_rests_while_others_are_free(tmp_path: Path) -> None:
    clock = Clock()
    with Leases(tmp_path, "boot", clock=clock) as leases:
        addresses(leases, 1)
        leases.release(pod(1))
        assert addresses(leases, 2) == ["10.244.1.3", "fd00::3"]


def test_when_all_others_are_taken_the_longest_rested_comes_first(tmp_path: Path) -> None:
    clock = Clock()
    small = AddressRange(ipaddress.ip_network("10.244.1.0/29"))
    with Leases(tmp_path, "boot", clock=clock) as leases:
        for number in range(5):
            addresses(leases, number, (small,))
        for number in (3, 1):
            clock.now += 1
            leases.release(pod(number))
        assert addresses(leases, 11, (small,)) == ["10.244.1.5"]
        assert addresses(leases, 12, (small,)) == ["10.244.1.3"]


def test_vacancy_tells_what_an_add_would_meet_and_takes_nothing(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        leases.require_vacancy([TINY], 30)
        assert addresses(leases, 1, (TINY,)) == ["10.244.1.2"]
        with pytest.raises(AddressesExhausted):
            leases.require_vacancy([TINY], 30)


def test_a_reboot_frees_every_lease(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1, (TINY,))
    with Leases(tmp_path, "next boot") as leases:
        assert leases.find(pod(1)) is None
        assert leases.attachments("podnet") == []
        assert addresses(leases, 2, (TINY,)) == ["10.244.1.2"]


def test_releasing_twice_is_silent(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
        assert [str(address) for address in leases.release(pod(1))] == ["10.244.1.2", "fd00::2"]
        assert leases.release(pod(1)) == ()


def test_a_late_release_does_not_touch_the_new_owner(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1, (TINY,))
        leases.release(pod(1))
        assert addresses(leases, 2, (TINY,)) == ["10.244.1.2"]
        leases.release(pod(1))
        lease = leases.find(pod(2))
        assert lease is not None
        assert lease.pod == "default/web-2"


def test_attachments_are_those_of_the_network(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        for number in (2, 1):
            addresses(leases, number)
        addresses(leases, 3, network="other")
        assert leases.attachments("podnet") == [pod(1), pod(2)]


def test_threads_never_share_an_address(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(acquire_in_a_process, str(tmp_path), n) for n in range(40)]
        given = [call.result()[0] for call in calls]
    assert len(set(given)) == 40


def test_processes_never_share_an_address(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")  # a spawned child could not import this file
    with ProcessPoolExecutor(4, mp_context=fork) as pool:
        calls = [pool.submit(acquire_in_a_process, str(tmp_path), n) for n in range(40)]
        given = [call.result()[0] for call in calls]
    assert len(set(given)) == 40


def test_a_held_lock_is_try_again_and_not_a_wait_for_ever(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
    holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        with (
            Leases(tmp_path, "boot", lock_timeout=0.01) as leases,
            pytest.raises(TryAgain, match="is locked"),
        ):
            addresses(leases, 2)
    finally:
        holder.close()


def test_the_database_and_its_folders_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    with Leases(directory, "boot") as leases:
        addresses(leases, 1)
    assert stat.S_IMODE((directory / FILE_NAME).stat().st_mode) == 0o600
    assert [stat.S_IMODE(d.stat().st_mode) for d in (directory, directory.parent)] == [0o700] * 2


def test_without_create_nothing_is_created(tmp_path: Path) -> None:
    with Leases(tmp_path / "gone", "boot", create=False) as leases:
        assert leases.release(pod(1)) == ()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("what", ["folder is a file", "database is a folder", "database is junk"])
def test_an_unusable_state_directory_is_an_io_failure(tmp_path: Path, what: str) -> None:
    directory = tmp_path / "state"
    if what == "folder is a file":
        directory.write_text("")
    elif what == "database is a folder":
        (directory / FILE_NAME).mkdir(parents=True)
    else:
        directory.mkdir()
        (directory / FILE_NAME).write_bytes(b"junk" * 1000)
    with pytest.raises(InputOutputFailed, match="cannot use lease database"):
        Leases(directory, "boot")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param("address", "'ten'", id="no address"),
        pytest.param("address", "x'0af40102'", id="an address in bytes"),
        pytest.param("address", "cast(x'ff' as text)", id="no UTF-8"),
        pytest.param("released", "'yesterday'", id="no time"),
    ],
)
def test_a_corrupt_row_is_an_input_output_failure_that_names_the_file(
    tmp_path: Path, column: str, value: str
) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute(f"UPDATE leases SET {column} = {value} WHERE address LIKE '10.%'")
    with Leases(tmp_path, "boot") as leases:
        with pytest.raises(InputOutputFailed, match=FILE_NAME):
            leases.require_vacancy(BOTH, 30)
        if column == "address":
            with pytest.raises(InputOutputFailed, match=FILE_NAME):
                leases.release(pod(1))

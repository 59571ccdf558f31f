"""The lease database: idempotent, all or nothing, never two owners, never blocked for ever."""

import ipaddress
import multiprocessing
import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from podwire_cni import ranges
from podwire_cni.attachment import Attachment
from podwire_cni.errors import (
    AddressesExhausted,
    AddressTaken,
    BadConfig,
    InputOutputFailed,
    PortTaken,
    TryAgain,
)
from podwire_cni.leases import FILE_NAME, Leases, kept_open
from podwire_cni.ports import PortMapping
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
    leases: Leases, number: int, among: Sequence[AddressRange] = BOTH, network: str = "podnet"
) -> list[str]:
    lease = leases.acquire(pod(number, network), f"default/web-{number}", among, cooldown=30)
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
    assert caught.value.details == "0 resting"


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


def corrupt(directory: Path, column: str, value: str) -> None:
    with sqlite3.connect(directory / FILE_NAME) as database:
        database.execute(f"UPDATE leases SET {column} = {value} WHERE address LIKE '10.%'")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("'ten'", id="no address"),
        pytest.param("x'0af40102'", id="an address in bytes"),
        pytest.param("cast(x'ff' as text)", id="no UTF-8"),
    ],
)
def test_a_corrupt_address_is_its_owners_error_and_nobody_elses(tmp_path: Path, value: str) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
        corrupt(tmp_path, "address", value)
        with pytest.raises(InputOutputFailed, match=FILE_NAME):
            leases.release(pod(1))
        assert addresses(leases, 2) == ["10.244.1.2", "fd00::3"]


def test_a_corrupt_time_is_told_when_it_is_looked_at(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1, (TINY,))
        corrupt(tmp_path, "released", "'yesterday'")
        with pytest.raises(InputOutputFailed, match="holds a corrupt row"):
            addresses(leases, 2, (TINY,))


def test_a_row_that_somebody_deleted_is_an_address_again(tmp_path: Path) -> None:
    small = AddressRange(ipaddress.ip_network("10.244.1.0/29"))
    with Leases(tmp_path, "boot") as leases:
        for number in range(5):
            addresses(leases, number, (small,))
        with sqlite3.connect(tmp_path / FILE_NAME) as database:
            database.execute("DELETE FROM leases WHERE address = '10.244.1.4'")
        assert addresses(leases, 9, (small,)) == ["10.244.1.4"]
        with pytest.raises(AddressesExhausted):
            addresses(leases, 10, (small,))


def test_a_family_that_is_used_up_is_found_past_any_number_of_the_other(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot", clock=(clock := Clock())) as leases:
        for number in range(20):
            clock.now += 1
            assert addresses(leases, number, (TINY, V6))[0] == "10.244.1.2"
            leases.release(pod(number))
        # Each IPv6 address is new, as none has rested: 20 of them wait before the only IPv4 one.
        assert len([one for one, _ in leases.resting() if one.version == 6]) == 20


def test_rest_is_kept_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with Leases(tmp_path, "boot", clock=clock) as leases:
        addresses(leases, 1)
        leases.release(pod(1))
    clock.now += 29
    with Leases(tmp_path, "boot", clock=clock) as leases:
        resting = [(str(one), at) for one, at in leases.resting()]
        assert resting == [("10.244.1.2", 1000.0), ("fd00::2", 1000.0)]
        assert addresses(leases, 2) == ["10.244.1.3", "fd00::3"]


def test_pods_that_come_and_go_for_ever_do_not_fill_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PLENTY", 8)
    clock = Clock()
    with Leases(tmp_path, "boot", clock=clock) as leases:
        for number in range(60):
            clock.now += 10
            addresses(leases, number, (V6,))
            leases.release(pod(number))
        assert [str(one) for one, _ in leases.resting()] == [
            f"fd00::{2 + (60 + n) % 8}" for n in range(8)
        ]


# ── what a runtime asks for ──────────────────────────────────────────────────────────────────


def ask(leases: Leases, number: int, *wanted: str, ports: Sequence[PortMapping] = ()) -> list[str]:
    found = leases.acquire(
        pod(number),
        f"default/web-{number}",
        BOTH,
        30,
        wanted=[ipaddress.ip_address(one) for one in wanted],
        ports=ports,
    )
    return [str(address) for address in found.addresses]


def test_an_address_that_is_asked_for_is_given_even_while_it_rests(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        assert ask(leases, 1, "10.244.1.77") == ["10.244.1.77", "fd00::77"]
        leases.release(pod(1))
        assert ask(leases, 2, "fd00::9", "10.244.1.77") == ["10.244.1.77", "fd00::9"]
        assert ask(leases, 3) == ["10.244.1.2", "fd00::2"]


def test_asking_again_for_another_address_changes_it(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        ask(leases, 1)
        assert ask(leases, 1, "10.244.1.77")[0] == "10.244.1.77"
        assert [lease.attachment for lease in leases.all()] == [pod(1)]


def test_an_address_of_another_pod_is_refused_with_its_name(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        ask(leases, 1, "10.244.1.77")
        with pytest.raises(AddressTaken) as caught:
            ask(leases, 2, "10.244.1.77")
        assert caught.value.message == "10.244.1.77 is leased to default/web-1"
        assert caught.value.details == "by container-1/eth0"
        assert leases.find(pod(2)) is None


@pytest.mark.parametrize("wanted", ["10.244.2.2", "10.244.1.1", "10.244.1.255", "fd01::2"])
def test_an_address_that_the_ranges_do_not_offer_is_bad_config(tmp_path: Path, wanted: str) -> None:
    with (
        Leases(tmp_path, "boot") as leases,
        pytest.raises(BadConfig, match=rf"^ips: {wanted} is not"),
    ):
        ask(leases, 1, wanted)


WEB = PortMapping(8080, 80, "tcp")


def test_ports_come_and_go_with_the_addresses(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        ask(leases, 1, ports=[WEB, PortMapping(53, 53, "udp", "192.0.2.1")])
        (lease,) = leases.all()
        assert set(lease.ports) == {WEB, PortMapping(53, 53, "udp", "192.0.2.1")}
        ask(leases, 1, ports=[WEB])
        assert leases.find(pod(1)) == replace(lease, ports=(WEB,))
        leases.release(pod(1))
        ask(leases, 2, ports=[WEB])
        assert [one.ports for one in leases.all()] == [(WEB,)]


@pytest.mark.parametrize(
    ("theirs", "refused"),
    [
        (PortMapping(8080, 8081, "tcp"), True),
        (PortMapping(8080, 80, "tcp", "192.0.2.1"), True),
        (PortMapping(8080, 80, "udp"), False),
        (PortMapping(8081, 80, "tcp"), False),
    ],
)
def test_a_port_of_another_pod_is_refused_with_both_names(
    tmp_path: Path, theirs: PortMapping, refused: bool
) -> None:
    with Leases(tmp_path, "boot") as leases:
        ask(leases, 1, ports=[WEB])
        if not refused:
            ask(leases, 2, ports=[theirs])
            return
        with pytest.raises(PortTaken) as caught:
            ask(leases, 2, ports=[theirs])
        assert (
            caught.value.message == f"hostPort {theirs} of default/web-2 is taken by default/web-1"
        )
        assert caught.value.details == "as *:8080/tcp, by container container-1"
        assert leases.find(pod(2)) is None


def test_all_leases_are_listed_or_those_of_one_network(tmp_path: Path) -> None:
    clock = Clock()
    with Leases(tmp_path, "boot", clock=clock) as leases:
        addresses(leases, 2)
        addresses(leases, 1, network="other")
        both = leases.all()
        assert [(one.attachment, one.pod, one.allocated) for one in both] == [
            (pod(1, "other"), "default/web-1", 1000.0),
            (pod(2), "default/web-2", 1000.0),
        ]
        assert leases.all("podnet") == both[1:]


# ── the file: older podwires, other boots, damage ───────────────────────────────────────────

OLD_LAYOUT = """
CREATE TABLE leases (
    address TEXT PRIMARY KEY, network TEXT NOT NULL, container TEXT NOT NULL,
    interface TEXT NOT NULL, pod TEXT NOT NULL, boot TEXT NOT NULL, allocated REAL NOT NULL,
    released REAL
) WITHOUT ROWID;
INSERT INTO leases VALUES
    ('10.244.1.2', 'podnet', 'container-1', 'eth0', 'default/web-1', 'boot', 900.0, NULL),
    ('10.244.1.3', 'podnet', 'container-2', 'eth0', 'default/web-2', 'boot', 900.0, 990.0),
    ('10.244.1.4', 'podnet', 'container-3', 'eth0', 'default/web-3', 'last boot', 1.0, NULL);
"""


def write_old_file(directory: Path) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME)) as database:
        database.executescript(OLD_LAYOUT)


@pytest.mark.parametrize("create", [True, False])
def test_an_older_podwires_leases_survive_the_upgrade(tmp_path: Path, create: bool) -> None:
    write_old_file(tmp_path)
    with Leases(tmp_path, "boot", create=create) as leases:
        assert [lease.attachment for lease in leases.all()] == [pod(1)]
        assert [str(one) for one, _ in leases.resting()] == ["10.244.1.3"]
        assert addresses(leases, 1, (V4,)) == ["10.244.1.2"]
        assert addresses(leases, 5, (V4,)) == ["10.244.1.4"]


def test_an_older_podwire_can_take_the_file_back(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        ask(leases, 1, ports=[WEB])
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as database:
        database.execute("UPDATE leases SET released = 1.0 WHERE container = 'container-1'")
        database.execute(
            "INSERT OR REPLACE INTO leases VALUES"
            " ('10.244.1.3', 'podnet', 'container-2', 'eth0', 'default/web-2', 'boot', 1.0, NULL)"
        )
    with Leases(tmp_path, "boot") as leases:
        assert ask(leases, 3, ports=[WEB])[0] == "10.244.1.4"
        assert [lease.attachment for lease in leases.all()] == [pod(2), pod(3)]


def test_a_lease_keeps_its_pods_uid(tmp_path: Path) -> None:
    ranges = BOTH

    def uids(leases: Leases) -> list[str]:
        return [each.uid for each in leases.all()]

    with Leases(tmp_path, "boot") as leases:
        assert leases.acquire(pod(1), "default/web", ranges, 30, uid="u1").uid == "u1"
        assert leases.acquire(pod(1), "default/web", ranges, 30).uid == "u1", "nothing is said"
        assert leases.acquire(pod(2), "default/web", ranges, 30).uid == ""
    with Leases(tmp_path, "boot", create=False) as leases:
        assert uids(leases) == ["u1", ""]
        assert [each.uid for each in leases.readable()[0]] == ["u1", ""]
    with Leases(tmp_path, "boot") as leases:
        leases.release(pod(1))
        assert leases.acquire(pod(1), "default/web", ranges, 30).uid == ""


def test_a_file_that_an_older_podwire_took_back_before_a_reboot_is_believed(
    tmp_path: Path,
) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as database:
        database.execute("UPDATE leases SET boot = 'next boot'")
    with Leases(tmp_path, "next boot", create=False) as leases:
        assert leases.attachments("podnet") == [pod(1)]


def damage(directory: Path) -> None:
    (directory / FILE_NAME).write_bytes(b"not a database, a power cut's leftover. " * 1000)


def test_a_damaged_file_of_this_boot_is_one_error_that_says_what_to_do(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
    damage(tmp_path)
    with pytest.raises(InputOutputFailed, match="it is damaged") as caught:
        Leases(tmp_path, "boot")
    assert "drain the node, remove" in caught.value.details


def test_a_damaged_file_of_another_boot_is_replaced(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
    damage(tmp_path)
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(b"half a frame")
    with Leases(tmp_path, "next boot") as leases:
        assert addresses(leases, 2) == ["10.244.1.2", "fd00::2"]
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    with Leases(tmp_path, "boot") as leases:
        addresses(leases, 1)
        holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            with Leases(tmp_path, "boot", lock_timeout=0.01) as reader:
                assert reader.find(pod(1)) is not None
        finally:
            holder.close()


# ── a process that serves many calls ────────────────────────────────────────────────────────


def opened(directory: Path) -> int:
    """How many descriptors of this process lead to the database."""
    links = [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return links.count(directory / FILE_NAME)


def test_a_process_that_keeps_the_file_opens_it_once(tmp_path: Path) -> None:
    with kept_open(tmp_path):
        for number in range(3):
            with Leases(tmp_path, "boot") as leases:
                addresses(leases, number)
            assert opened(tmp_path) == 1
        with Leases(tmp_path, "boot") as one, Leases(tmp_path, "boot") as other:
            assert one.all() == other.all()
    assert opened(tmp_path) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["leases.boot", FILE_NAME]


def test_a_kept_file_that_was_removed_is_not_used_again(tmp_path: Path) -> None:
    with kept_open(tmp_path):
        with Leases(tmp_path, "boot") as leases:
            addresses(leases, 1)
        (tmp_path / FILE_NAME).unlink()
        with Leases(tmp_path, "boot", create=False) as leases:
            assert leases.all() == []
        with Leases(tmp_path, "boot") as leases:
            addresses(leases, 2)
        with Leases(tmp_path, "boot", create=False) as leases:
            assert leases.attachments("podnet") == [pod(2)]


def test_threads_that_keep_the_file_never_share_an_address(tmp_path: Path) -> None:
    with kept_open(tmp_path), ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(acquire_in_a_process, str(tmp_path), n) for n in range(100)]
        given = [call.result()[0] for call in calls]
    assert len(set(given)) == 100

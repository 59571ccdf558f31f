"""Threads of calls and the loop: who waits for whom, and for how long."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.errors import TryAgain
from podwire_cni.leases import Lease
from podwire_cni.ports import PortMapping
from podwire_node.cni.admission.admission import Admission, Notice

LEASE = Lease(Attachment("podnet", "c1", "eth0"), "default/web", (ip_address("10.244.1.2"),))
SERVING = Lease(LEASE.attachment, LEASE.pod, LEASE.addresses, (PortMapping(8080, 80, "tcp"),))


@pytest.fixture
def admission() -> Iterator[Admission]:
    admission = Admission()
    yield admission
    admission.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def heard(admission: Admission) -> Notice:
    """The next notice, as the loop hears it."""
    poll = select.poll()
    poll.register(admission.fileno(), select.POLLIN)
    assert poll.poll(10_000)
    (notice,) = admission.taken()
    return notice


def admitted(admission: Admission, pool: ThreadPoolExecutor, seconds: float = 10) -> Future[None]:
    return pool.submit(admission.admit, LEASE, time.monotonic() + seconds)


def test_a_call_waits_until_its_pod_is_in_force(
    admission: Admission, pool: ThreadPoolExecutor
) -> None:
    call = admitted(admission, pool)
    notice = heard(admission)
    assert (notice.lease, notice.came, call.done()) == (LEASE, True, False)
    notice.awaited = ""
    notice.settle()
    assert call.result(10) is None


def test_a_call_says_what_it_waited_for_in_vain(
    admission: Admission, pool: ThreadPoolExecutor
) -> None:
    call = admitted(admission, pool, 5)
    heard(admission).awaited = "the end of the world"
    with pytest.raises(TryAgain, match="the end of the world"):
        call.result(10)


def test_a_loop_that_ends_lets_all_calls_go_with_an_error(
    admission: Admission, pool: ThreadPoolExecutor
) -> None:
    call = admitted(admission, pool)
    while not select.select([admission.fileno()], [], [], 10)[0]:
        pass
    admission.close()
    with pytest.raises(TryAgain, match="ending"):
        call.result(10)
    with pytest.raises(TryAgain):
        admission.admit(LEASE, time.monotonic() + 10)
    admission.leave(SERVING)


def test_a_pod_that_goes_waits_for_its_host_ports_alone(
    admission: Admission, pool: ThreadPoolExecutor
) -> None:
    assert pool.submit(admission.leave, LEASE).result(10) is None
    assert not heard(admission).came
    call = pool.submit(admission.leave, SERVING)
    notice = heard(admission)
    assert not call.done()
    notice.settle()
    assert call.result(10) is None


def test_where_there_are_no_policies_a_pod_without_host_ports_waits_for_nobody(
    admission: Admission, pool: ThreadPoolExecutor
) -> None:
    admission.is_open = True
    assert admitted(admission, pool).result(10) is None
    assert heard(admission).lease == LEASE
    call = pool.submit(admission.admit, SERVING, time.monotonic() + 10)
    notice = heard(admission)
    assert not call.done()
    notice.awaited = ""
    notice.settle()
    assert call.result(10) is None


def test_the_loop_itself_waits_for_nothing(admission: Admission) -> None:
    began = time.monotonic()
    admission.leave(SERVING)
    assert time.monotonic() - began < 4
    assert heard(admission).lease == SERVING


def test_notices_come_in_the_order_of_their_calls(admission: Admission) -> None:
    def run() -> None:
        for _ in range(3):
            admission.leave(LEASE)
        admission.leave(SERVING)

    thread = threading.Thread(target=run)
    thread.start()
    seen: list[Notice] = []
    while len(seen) < 4:
        select.select([admission.fileno()], [], [], 10)
        seen += admission.taken()
    assert [each.lease for each in seen] == [LEASE, LEASE, LEASE, SERVING]
    seen[-1].settle()
    thread.join()

"""How deep a bucket is for what a runtime sends."""

import pytest

from podwire_cni.limits import Bandwidth
from podwire_cni.plan import Plan, Qdisc, Side, make_plan
from podwire_cni.shaping import Shape, shape

from .test_plan import ADDRESSES, ATTACHMENT

MEGABIT = 1_000_000
KUBELETS = 2**32 - 1  # what containerd and CRI-O send as the burst of an annotation


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [
        pytest.param(8 * MEGABIT, 800_000, Shape(MEGABIT, 100_000, 125_000), id="as asked for"),
        pytest.param(80 * MEGABIT, 0, Shape(10 * MEGABIT, MEGABIT, 1_250_000), id="a tenth second"),
        pytest.param(80 * MEGABIT, KUBELETS, Shape(10 * MEGABIT, MEGABIT, 1_250_000), id="no wish"),
        pytest.param(8000, 0, Shape(1000, 65_536, 65_561), id="never less than a TCP segment"),
        pytest.param(8000, 80, Shape(1000, 1514, 1539), id="never less than a packet"),
        pytest.param(7, 0, Shape(1, 65_536, 65_536), id="never nothing at all"),
    ],
)
def test_a_rate_and_a_burst_make_a_bucket(rate: int, burst: int, expected: Shape) -> None:
    assert shape(rate, burst, 1500) == expected


def test_the_largest_rate_fits_the_kernels_numbers() -> None:
    largest = shape(2**63 - 1, 0, 65_535)
    assert largest == Shape(2**60 - 1, 2**32 - 1, 2**32 - 1)


def limited(**limits: int) -> Plan:
    return make_plan(ATTACHMENT, "default/web", ADDRESSES, 1500, bandwidth=Bandwidth(**limits))


def test_each_direction_is_limited_where_it_leaves_a_device() -> None:
    plan = limited(ingress_rate=8 * MEGABIT, egress_rate=16 * MEGABIT)
    assert plan.entries[-2:] == (
        Qdisc(Side.HOST, ATTACHMENT.host_name, MEGABIT),
        Qdisc(Side.POD, "eth0", 2 * MEGABIT),
    )
    assert str(plan.entries[-1]) == "pod: qdisc dev eth0 root tbf rate 16000000bit"


def test_a_direction_without_a_rate_has_no_bucket() -> None:
    assert [each.side for each in limited(egress_rate=1).entries if isinstance(each, Qdisc)] == [
        Side.POD
    ]


def test_the_pods_own_hardware_address_reaches_the_nodes_neighbours() -> None:
    plan = make_plan(ATTACHMENT, "default/web", ADDRESSES, 1500, mac="02:00:5E:00:53:17")
    assert plan.pod.mac == "02:00:5e:00:53:17"
    assert str(plan).count("lladdr 02:00:5e:00:53:17") == len(ADDRESSES)
    assert str(plan).count(f"lladdr {ATTACHMENT.host_mac}") == len(ADDRESSES)

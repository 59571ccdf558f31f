"""The conflist: what runtimes and the plugin read out of it."""

import json
from pathlib import Path

import pytest

from podwire_cni.config import parse_config
from podwire_node.cni.files.conflist import conflist

STATE = Path("/run/podwire/cni")
SOCKET = Path("/run/podwire/cni.sock")


def test_the_plugin_accepts_what_we_write() -> None:
    document = json.loads(
        conflist(["fd00:10:244:1::/64", "10.244.1.0/24"], 1450, "podwire", SOCKET, STATE)
    )
    assert (document["cniVersion"], document["name"]) == ("1.0.0", "podwire")
    (entry,) = document["plugins"]
    assert (entry["type"], entry["socket"]) == ("podwire", str(SOCKET))
    config = parse_config({"name": document["name"], **entry})
    # The node's order: the first one's family is the pod's own.
    assert [str(each.network) for each in config.ranges] == ["fd00:10:244:1::/64", "10.244.1.0/24"]
    assert (config.mtu, config.network.state_dir) == (1450, STATE)


def test_equal_arguments_give_equal_bytes() -> None:
    first, second = (conflist(["10.244.1.0/24"], 0, "podwire", SOCKET, STATE) for _ in range(2))
    assert first == second
    assert first.endswith(b"}\n")


def test_what_is_left_open_is_left_out() -> None:
    (entry,) = json.loads(conflist(["10.244.1.0/24"], 0, "podwire-cni", None, STATE))["plugins"]
    assert entry.keys() == {"type", "ranges", "stateDir", "capabilities"}


def test_host_ports_are_offered_where_the_agent_serves_them() -> None:
    offered = []
    for plugin in ("podwire", "podwire-cni"):
        content = conflist(["10.244.1.0/24"], 0, plugin, SOCKET, STATE)
        offered.append(json.loads(content)["plugins"][0]["capabilities"])
    served, alone = offered
    assert served == dict.fromkeys(("portMappings", "bandwidth", "ips", "mac", "ipRanges"), True)
    assert alone == {name: True for name in served if name != "portMappings"}


def test_the_client_is_told_where_dels_wait_for_the_agent() -> None:
    (entry,) = json.loads(conflist(["10.244.1.0/24"], 0, "podwire", SOCKET, STATE))["plugins"]
    assert entry["queueDir"] == "/run/podwire/cni/queue"
    with pytest.raises(ValueError, match="255 bytes"):
        conflist(["10.244.1.0/24"], 0, "podwire", SOCKET, Path("/" + "x" * 250))


@pytest.mark.parametrize(
    "cidrs", [[], ["10.244.1.0/24", "10.245.1.0/24"], ["10.244.1.1/24"], ["pods"]]
)
def test_cidrs_that_no_plugin_takes_are_refused(cidrs: list[str]) -> None:
    with pytest.raises(ValueError, match=r"podCIDRs|pods|host bits"):
        conflist(cidrs, 0, "podwire", SOCKET, STATE)

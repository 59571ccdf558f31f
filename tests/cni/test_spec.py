"""Environment and versions, one table each."""

import pytest

from podwire_cni.errors import BadEnvironment, IncompatibleVersion
from podwire_cni.spec import Command, parse_args, parse_environment, require_version

COMPLETE = {
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_all_missing_variables_are_named_in_one_error(command: str, missing: str) -> None:
    with pytest.raises(BadEnvironment) as caught:
        parse_environment({"CNI_COMMAND": command})
    assert caught.value.message == f"required env variables [{missing}] missing"


@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"])
def test_an_empty_variable_is_a_missing_one(variable: str) -> None:
    with pytest.raises(BadEnvironment, match=rf"\[{variable}\] missing"):
        parse_environment({**COMPLETE, "CNI_COMMAND": "ADD", variable: ""})


def test_del_needs_no_netns() -> None:
    environ = {**COMPLETE, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    assert parse_environment(environ).netns == ""


def test_version_needs_nothing() -> None:
    assert parse_environment({"CNI_COMMAND": "VERSION"}).command is Command.VERSION


@pytest.mark.parametrize("word", ["add", "UPDATE", "ADD "])
def test_an_unknown_command_is_refused(word: str) -> None:
    with pytest.raises(BadEnvironment, match="unknown CNI_COMMAND"):
        parse_environment({**COMPLETE, "CNI_COMMAND": word})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CNI_CONTAINERID", "-abc"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_CONTAINERID", "../etc"),
        ("CNI_CONTAINERID", "abc\n"),
        ("CNI_CONTAINERID", "ä"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", "all"),
        ("CNI_IFNAME", "default"),
        ("CNI_IFNAME", "a%d"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "eth0\n"),
        ("CNI_IFNAME", "sixteen-letters-"),
        ("CNI_IFNAME", "ääääääää"),  # 8 characters, 16 bytes
        ("CNI_IFNAME", "eth\udcff"),  # a byte that is not UTF-8
    ],
)
def test_a_malformed_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(BadEnvironment, match=f"^{variable}: invalid value"):
        parse_environment({**COMPLETE, "CNI_COMMAND": "ADD", variable: value})


@pytest.mark.parametrize("value", ["a", "A.b_c-9", "0" * 64])
def test_a_well_formed_container_id_is_taken(value: str) -> None:
    environ = {**COMPLETE, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": value}
    assert parse_environment(environ).container == value


@pytest.mark.parametrize(
    ("args", "pod"),
    [
        ("", "abc"),
        ("K8S_POD_NAMESPACE=default", "abc"),
        ("K8S_POD_NAME=pet", "pet"),  # as podman tells its container's name
        ("K8S_POD_NAME=kube-system/coredns", "abc"),
        ("K8S_POD_NAME=web;K8S_POD_NAMESPACE=default", "default/web"),
        ("IgnoreUnknown=1;FOO=bar;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;", "default/web"),
        ("FOO=bar;IgnoreUnknown=true", "abc"),
        ("K8S_POD_NAMESPACE=default;K8S_POD_NAME=w\udcffb", "default/w?b"),
    ],
)
def test_cni_args_tell_the_pod(args: str, pod: str) -> None:
    environ = {**COMPLETE, "CNI_COMMAND": "ADD", "CNI_ARGS": args}
    assert parse_environment(environ).pod == pod


@pytest.mark.parametrize("args", ["FOO", "FOO=a=b", "FOO=bar", "IgnoreUnknown=0;FOO=bar"])
def test_odd_cni_args_are_refused(args: str) -> None:
    with pytest.raises(BadEnvironment, match=r"^CNI_ARGS: "):
        parse_args(args)


def test_the_old_ways_to_ask_for_address_and_mac_are_known() -> None:
    args = "IP=10.244.1.9;MAC=02:00:00:00:00:09"
    environ = {**COMPLETE, "CNI_COMMAND": "ADD", "CNI_ARGS": args}
    assert parse_environment(environ).args == {"IP": "10.244.1.9", "MAC": "02:00:00:00:00:09"}


def test_check_knows_what_add_was_asked_for() -> None:
    environ = {**COMPLETE, "CNI_COMMAND": "CHECK", "CNI_ARGS": "IP=10.244.1.9"}
    assert parse_environment(environ).args["IP"] == "10.244.1.9"


def test_del_forgives_the_cni_args_that_add_refused() -> None:
    environ = {**COMPLETE, "CNI_COMMAND": "DEL", "CNI_ARGS": "FOO"}
    assert parse_environment(environ).container == "abc"


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (Command.ADD, ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        (Command.DEL, ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        (Command.CHECK, ["0.4.0", "1.0.0", "1.1.0"]),
        (Command.GC, ["1.1.0"]),
        (Command.STATUS, ["1.1.0"]),
    ],
)
def test_each_command_is_allowed_since_its_version(command: Command, allowed: list[str]) -> None:
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.2.0", "x"]:
        if version in allowed:
            require_version(version, command)
        else:
            with pytest.raises(IncompatibleVersion):
                require_version(version, command)

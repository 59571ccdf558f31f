"""What a NetworkPolicy's fields mean: defaults, selectors, peers, ports, blocks of addresses.

Each test is a promise of the API (networking/v1), which the oracle and the compiled rules keep.
"""

from typing import Any

import msgspec
import pytest
from policy_model import OUTSIDE, block, expression, match, namespaces, pod, pods, policy, port
from semantics_model import (
    APP,
    APP6,
    ICMP,
    OLD,
    WEB,
    WEB6,
    allowed,
    cluster,
    egress,
    ingress,
)

from podwire_core.objects import NetworkPolicy, Pod

# ------------------------------------------------------------------ subjects and policyTypes


def written(**spec: Any) -> NetworkPolicy:
    """A policy as somebody wrote it; policy_model fills in a podSelector."""
    meta = {"namespace": "shop", "name": "p"}
    return msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy)


@pytest.mark.parametrize(
    "spec", [{}, {"podSelector": {}}, {"podSelector": {"matchLabels": {}}}], ids=str
)
def test_a_missing_pod_selector_is_an_empty_one_and_selects_every_pod(spec: dict[str, Any]) -> None:
    assert not allowed(cluster(written(**spec)), APP, WEB)


def test_a_policy_selects_no_pod_of_another_namespace() -> None:
    made = cluster(policy("other/deny", policyTypes=["Ingress"]))
    assert allowed(made, APP, WEB)
    assert not allowed(made, WEB, APP)


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        pytest.param({}, "Ingress", id="no policyTypes, no rules: ingress"),
        pytest.param({"ingress": [], "egress": []}, "Ingress", id="empty lists imply nothing"),
        pytest.param({"egress": [{}]}, "Ingress Egress", id="egress rules imply Egress"),
        pytest.param({"policyTypes": []}, "Ingress", id="an empty list is as none"),
        pytest.param({"policyTypes": ["Egress"]}, "Egress", id="policyTypes says all"),
        pytest.param(
            {"policyTypes": ["Egress"], "ingress": [{}]}, "Egress", id="a section not named"
        ),
        pytest.param({"policyTypes": ["Ingress", "Ingress"]}, "Ingress", id="named twice"),
        pytest.param(
            {"policyTypes": ["Ingress", "Egress"]}, "Ingress Egress", id="both, without rules"
        ),
    ],
)
def test_policy_types_default_to_ingress_and_to_egress_with_egress_rules(
    spec: dict[str, Any], isolated: str
) -> None:
    made = cluster(policy("shop/p", **spec))
    judged = made.judge("shop/web", OUTSIDE[0])
    heard = made.judge(OUTSIDE[0], "shop/web")
    assert judged.egress.isolated is ("Egress" in isolated)
    assert heard.ingress.isolated is ("Ingress" in isolated)
    assert allowed(made, WEB, OUTSIDE[0]) is judged.allowed
    assert allowed(made, OUTSIDE[0], WEB) is heard.allowed


# -------------------------------------------------------------------- empty against missing


@pytest.mark.parametrize(
    ("spec", "heard"),
    [
        pytest.param({}, False, id="no rules"),
        pytest.param({"ingress": []}, False, id="an empty list of rules"),
        pytest.param({"ingress": [{}]}, True, id="an empty rule"),
        pytest.param({"ingress": [{"from": []}]}, True, id="empty peers"),
        pytest.param({"ingress": [{"ports": []}]}, True, id="empty ports"),
        pytest.param({"ingress": [{"from": [pods({})]}]}, False, id="an empty podSelector"),
        pytest.param({"ingress": [{"from": [namespaces({})]}]}, True, id="empty namespaceSelector"),
    ],
)
def test_no_rules_allow_nobody_and_an_empty_rule_allows_everybody(
    spec: dict[str, Any], heard: bool
) -> None:
    assert allowed(cluster(policy("shop/p", policyTypes=["Ingress"], **spec)), APP, WEB) is heard


def test_rules_peers_and_ports_are_alternatives_and_a_rule_needs_a_peer_and_a_port() -> None:
    made = cluster(
        ingress(
            {"from": [block("192.0.2.0/24"), namespaces(match(team="blue"))], "ports": [port(80)]},
            {"from": [block(f"{OUTSIDE[0]}/32")], "ports": [port(81), port(82)]},
        )
    )
    assert [allowed(made, APP, WEB, "TCP", n) for n in (80, 81, 82)] == [True, False, False]
    assert [allowed(made, OUTSIDE[0], WEB, "TCP", n) for n in (80, 81, 82)] == [False, True, True]


def test_policies_add_up() -> None:
    one = policy("shop/one", ingress=[{"ports": [port(80)]}])
    two = policy("shop/two", ingress=[{"ports": [port(81)]}])
    made = cluster(one, two)
    assert [allowed(made, APP, WEB, "TCP", n) for n in (80, 81, 82)] == [True, True, False]


def test_no_peers_means_everyone_outside_of_the_cluster_too() -> None:
    made = cluster(ingress({"ports": [port(80)]}), policy("other/p", egress=[{}]))
    assert allowed(made, OUTSIDE[0], WEB)
    assert allowed(made, OUTSIDE[1], WEB6)
    assert allowed(made, APP, WEB)


# ------------------------------------------------------------------------------- peers


@pytest.mark.parametrize(
    ("peers", "heard"),
    [
        pytest.param([pods({})], False, id="podSelector alone means the policy's namespace"),
        pytest.param([namespaces({})], True, id="an empty namespaceSelector is every namespace"),
        pytest.param([namespaces(match(team="blue"))], True, id="pods of a namespace by label"),
        pytest.param(
            [namespaces(match(**{"kubernetes.io/metadata.name": "other"}))],
            True,
            id="a namespace by its name, which is a label",
        ),
        pytest.param(
            [{**namespaces(match(team="blue")), **pods(match(app="web"))}],
            False,
            id="both in one peer: AND",
        ),
        pytest.param(
            [namespaces(match(team="blue")), pods(match(app="web"))], True, id="in two peers: OR"
        ),
        pytest.param([], True, id="an empty list is everyone"),
    ],
)
def test_peers_by_selectors(peers: list[dict[str, Any]], heard: bool) -> None:
    assert allowed(cluster(ingress({"from": peers})), APP, WEB) is heard
    assert allowed(cluster(egress({"to": peers})), WEB, APP) is heard


@pytest.mark.parametrize(
    ("selector", "heard"),
    [
        pytest.param(match(app="app", tier="back"), True, id="all labels have to be there"),
        pytest.param(match(app="app", tier="front"), False, id="one label is another"),
        pytest.param(expression("app", "In", "web", "app"), True, id="In: one of the values"),
        pytest.param(expression("app", "In", "web"), False, id="In: none of them"),
        pytest.param(expression("x", "In", "app"), False, id="In needs the key"),
        pytest.param(expression("app", "NotIn", "web"), True, id="NotIn: another value"),
        pytest.param(expression("app", "NotIn", "app"), False, id="NotIn: this value"),
        pytest.param(expression("x", "NotIn", "web"), True, id="NotIn matches who lacks the key"),
        pytest.param(expression("app", "Exists"), True, id="Exists"),
        pytest.param(expression("x", "Exists"), False, id="Exists needs the key"),
        pytest.param(expression("app", "DoesNotExist"), False, id="DoesNotExist"),
        pytest.param(expression("x", "DoesNotExist"), True, id="DoesNotExist: no such key"),
        pytest.param({**match(app="app"), **expression("tier", "In", "front")}, False,
                     id="labels and expressions both have to match"),
    ],
)  # fmt: skip
def test_selectors_want_every_requirement(selector: dict[str, Any], heard: bool) -> None:
    both = pod("other/app", APP, APP6, node="n2", labels={"app": "app", "tier": "back"})
    rule = {"from": [{**namespaces({}), **pods(selector)}]}
    assert allowed(cluster(both, ingress(rule)), APP, WEB) is heard
    subject = cluster(both, policy("other/p", podSelector=selector, policyTypes=["Ingress"]))
    assert allowed(subject, WEB, APP) is not heard, "subjects are selected alike"


# ------------------------------------------------------------------------------- ipBlock


@pytest.mark.parametrize(
    ("peers", "heard"),
    [
        pytest.param([block("10.244.0.0/16")], True, id="an ipBlock holds pods too"),
        pytest.param([block("10.244.0.0/16", "10.244.2.0/24")], False, id="except cuts out"),
        pytest.param(
            [block("10.244.0.0/16", "10.244.0.0/23", "10.244.2.0/28", "10.244.2.0/31")],
            False,
            id="excepts that overlap",
        ),
        pytest.param(
            [block("10.244.0.0/16", "10.244.2.2/31", "10.244.2.0/32")], True, id="excepts around it"
        ),
        pytest.param([block("fd00:2::/64")], False, id="a block of the other family: nobody"),
        pytest.param([block("0.0.0.0/0")], True, id="the block of every address"),
        pytest.param([block("0.0.0.0/0", "10.244.2.1/32")], False, id="every address but one"),
        pytest.param(
            [block("10.244.0.0/16", "10.244.2.0/24"), block("10.244.2.1/32")],
            True,
            id="another block allows what an except cut",
        ),
        pytest.param(
            [block("10.0.0.0/8", "10.244.0.0/16"), block("10.244.0.0/16", "10.244.2.0/24")],
            False,
            id="each block cut by its own except",
        ),
        pytest.param([block("10.0.0.0/8", "10.0.0.0/8")], False, id="everything cut out: nobody"),
    ],
)
def test_an_ip_block_is_its_cidr_without_its_own_excepts(
    peers: list[dict[str, Any]], heard: bool
) -> None:
    assert allowed(cluster(ingress({"from": peers})), APP, WEB) is heard
    assert allowed(cluster(egress({"to": peers})), WEB, APP) is heard


def test_an_except_is_no_deny_another_policy_may_allow_what_it_cut() -> None:
    cut = ingress({"from": [block("10.244.0.0/16", f"{APP}/32")]})
    assert not allowed(cluster(cut), APP, WEB)
    assert allowed(cluster(cut, ingress({"from": [block(f"{APP}/32")]}, name="shop/q")), APP, WEB)


@pytest.mark.parametrize("cidr", ["10.244.2.77/24", "010.244.002.000/24", "10.244.2.1/32"])
def test_old_spellings_of_cidrs_are_read_as_the_api_server_reads_them(cidr: str) -> None:
    assert allowed(cluster(ingress({"from": [block(cidr)]})), APP, WEB)


def test_an_ipv4_address_written_as_an_ipv6_one_is_of_ipv6_and_no_pods() -> None:
    made = cluster(ingress({"from": [block("::ffff:10.244.2.0/120")]}))
    assert not allowed(made, APP, WEB)
    assert not allowed(made, APP6, WEB6)


def test_an_except_of_the_other_family_cuts_nothing() -> None:
    made = cluster(egress({"to": [block("::/0", "10.0.0.0/8")]}))
    assert allowed(made, WEB6, "::10.1.2.3")
    assert not allowed(made, WEB, OUTSIDE[0])


def test_an_except_outside_its_cidr_cuts_nothing_and_is_reported() -> None:
    made = cluster(ingress({"from": [block("10.244.2.0/24", "192.0.2.0/24", "fd00::/8")]}))
    assert allowed(made, APP, WEB)
    problems = made.nodes["n1"].policies.problems
    assert [(each.object, each.field) for each in problems] == [
        ("NetworkPolicy shop/p", "spec.ingress[0].from[0].ipBlock.except[0]"),
        ("NetworkPolicy shop/p", "spec.ingress[0].from[0].ipBlock.except[1]"),
    ]
    assert problems[0].reason == (
        "192.0.2.0/24 is not inside 10.244.2.0/24 and cuts nothing out of it"
    )
    assert not made.nodes["n2"].policies.problems, "only where it has subjects"


# ------------------------------------------------------------------------------- ports


@pytest.mark.parametrize(
    ("ports", "open_"),
    [
        pytest.param([], "TCP/80 UDP/80 SCTP/80 TCP/8080 ICMP/0", id="no ports: every protocol"),
        pytest.param([{"port": 80}], "TCP/80", id="no protocol: TCP"),
        pytest.param([port(79, end=81)], "TCP/80", id="endPort: a range"),
        pytest.param([port(70, end=80)], "TCP/80", id="endPort: the last one is in it"),
        pytest.param([port(80, end=90)], "TCP/80", id="endPort: the first one is in it"),
        pytest.param([port(80, end=80)], "TCP/80", id="endPort: a range of one"),
        pytest.param([port(81, end=8079)], "", id="endPort: around both"),
        pytest.param([port(1, end=65535)], "TCP/80 TCP/8080", id="endPort: every number"),
        pytest.param([port(70, end=90), port(80), port(85, end=8080)], "TCP/80 TCP/8080",
                     id="overlapping ranges"),
        pytest.param([port(70, "UDP", end=90)], "UDP/80", id="endPort of another protocol"),
        pytest.param([port(protocol="UDP")], "UDP/80", id="a protocol without port: all of it"),
        pytest.param([{}], "TCP/80 TCP/8080", id="neither protocol nor port: all of TCP"),
        pytest.param([port(protocol="SCTP")], "SCTP/80", id="all of SCTP is no TCP"),
        pytest.param([port(80, "SCTP")], "SCTP/80", id="SCTP is no TCP"),
        pytest.param([port("http")], "TCP/8080", id="a named port"),
        pytest.param([port("http", "UDP")], "", id="a named port of another protocol"),
        pytest.param([port("nobody")], "", id="a name that nobody declares"),
        pytest.param([port("http"), port(80)], "TCP/80 TCP/8080", id="names and numbers"),
        pytest.param([port("http"), port()], "TCP/80 TCP/8080", id="a name and its protocol"),
    ],
)  # fmt: skip
def test_ports(ports: list[Any], open_: str) -> None:
    asked = ["TCP/80", "UDP/80", "SCTP/80", "TCP/8080", "ICMP/0"]
    for made, ends in (
        (cluster(ingress({"ports": ports})), (APP, WEB)),
        (cluster(egress({"ports": ports})), (WEB, APP)),
    ):
        assert [way for way in asked if allowed(made, *ends, *_way(way))] == open_.split()


def _way(text: str) -> tuple[str, int]:
    protocol, number = text.split("/")
    return protocol, int(number)


def test_a_named_port_is_the_destination_pods_own() -> None:
    second = pod("other/second", OLD, node="n2", ports=[("http", "TCP", 9090)])
    made = cluster(second, egress({"ports": [port("http")]}))
    assert allowed(made, WEB, APP, "TCP", 8080)
    assert allowed(made, WEB, OLD, "TCP", 9090)
    assert not allowed(made, WEB, OLD, "TCP", 8080)
    heard = cluster(pod("shop/web", WEB, ports=[("http", "TCP", 9090)]),
                    ingress({"ports": [port("http")]}))  # fmt: skip
    assert allowed(heard, APP, WEB, "TCP", 9090)
    assert not allowed(heard, APP, WEB, "TCP", 8080), "the source's port of that name is no matter"


@pytest.mark.parametrize(("keeps_running", "found"), [("Always", True), ("", False)], ids=str)
def test_ports_of_sidecars_have_names_and_those_of_other_init_containers_have_not(
    keeps_running: str, found: bool
) -> None:
    rows = [{"name": "metrics", "containerPort": 9100}]
    proxy = {"name": "p", "ports": rows, "restartPolicy": keeps_running}
    document = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"nodeName": "n1", "containers": [], "initContainers": [proxy]},
        "status": {"phase": "Running", "podIPs": [{"ip": WEB}]},
    }
    made = cluster(msgspec.convert(document, Pod), ingress({"ports": [port("metrics")]}))
    assert allowed(made, APP, WEB, "TCP", 9100) is found


def test_one_name_for_two_protocols_is_two_ports() -> None:
    made = cluster(egress({"ports": [port("dns", "UDP")]}))
    assert allowed(made, WEB, APP, "UDP", 53)
    assert not allowed(made, WEB, APP, "TCP", 5353)
    assert not allowed(made, WEB, APP, "UDP", 5353)


def test_an_address_without_a_pod_has_no_named_ports() -> None:
    made = cluster(egress({"to": [block("0.0.0.0/0")], "ports": [port("http")]}))
    assert allowed(made, WEB, APP, "TCP", 8080)
    assert not allowed(made, WEB, OUTSIDE[0], "TCP", 8080)


def test_sctp_isolates_and_never_matches_tcp() -> None:
    made = cluster(ingress({"ports": [port(80, "SCTP")]}))
    assert allowed(made, APP, WEB, "SCTP", 80)
    assert not allowed(made, APP, WEB, "TCP", 80)
    assert not allowed(made, APP, WEB, "SCTP", 81)


def test_icmp_passes_rules_without_ports_only() -> None:
    by_port = {"ports": [port(protocol="TCP"), port(protocol="UDP"), port(protocol="SCTP")]}
    assert not allowed(cluster(ingress(by_port)), APP, WEB, *ICMP)
    assert allowed(cluster(ingress({"from": [namespaces({})]})), APP, WEB, *ICMP)


# -------------------------------------------------------- what no policy may say, or be called


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"ingress": [{"from": [{}]}]}, "a peer needs"),
        ({"ingress": [{"from": [{**block("10.0.0.0/8"), **pods({})}]}]}, "excludes"),
        ({"ingress": [{"from": [block("10.0.0.0")]}]}, "no prefix length"),
        ({"ingress": [{"from": [{"ipBlock": {}}]}]}, "cidr"),
        ({"ingress": [{"ports": [port("http", end=81)]}]}, "endPort"),
        ({"ingress": [{"ports": [port(None, end=81)]}]}, "endPort"),
        ({"ingress": [{"ports": [port(80, end=79)]}]}, "is below"),
        ({"ingress": [{"ports": [port(0)]}]}, "port"),
        ({"ingress": [{"ports": [port(65536)]}]}, "port"),
        ({"ingress": [{"ports": [port(80, "ICMP")]}]}, "protocol"),
        ({"policyTypes": ["Sideways"]}, "policyTypes"),
        ({"podSelector": expression("k", "In")}, "needs at least one"),
        ({"podSelector": expression("k", "Exists", "v")}, "takes none"),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_api_refuses_is_refused_here_with_the_fields_name(
    spec: dict[str, Any], reason: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        written(**spec)


def test_a_name_of_253_characters_with_dots_is_a_policys() -> None:
    long = ".".join(["p" * 62] * 4) + "p"
    made = cluster(policy(f"shop/{long}", ingress=[{"ports": [port(80)]}]))
    assert allowed(made, APP, WEB)
    assert not allowed(made, APP, WEB, "TCP", 81)


def test_a_policy_in_a_namespace_that_no_object_describes_is_in_force() -> None:
    made = cluster(pod("ghost/a", OLD, node="n2"), policy("ghost/deny"))
    assert not allowed(made, WEB, OLD)


def test_a_namespace_that_no_object_describes_has_its_name_for_a_label() -> None:
    made = cluster(
        pod("ghost/a", OLD, node="n2"),
        ingress({"from": [namespaces(match(**{"kubernetes.io/metadata.name": "ghost"}))]}),
    )
    assert allowed(made, OLD, WEB)

"""ClusterNetworkPolicy: the API's bounds, and fields that nobody here knows."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from podwire_core.errors import ObjectError
from podwire_core.feed.decode import decode, decode_json, kind_of
from podwire_core.objects import (
    Action,
    ClusterNetworkPolicy,
    ObjectName,
    Pod,
    PolicyType,
    Protocol,
    Tier,
)
from podwire_core.selectors import EVERYTHING
from podwire_core.snapshot import AGENT_KINDS

NAMESPACES = {"namespaces": {"matchLabels": {"house": "red"}}}
EVERYONE: dict[str, Any] = {"namespaces": {}}
RULE = {"name": "web", "action": "Deny", "to": [EVERYONE], "protocols": [{"tcp": {}}]}
SPEC: dict[str, Any] = {
    "tier": "Admin",
    "priority": 10,
    "subject": NAMESPACES,
    "ingress": [{"action": "Accept", "from": [EVERYONE]}],
    "egress": [RULE],
}


def policy(**changes: Any) -> ClusterNetworkPolicy:
    document = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "guard", "namespace": "ignored"},
        "spec": {**copy.deepcopy(SPEC), **changes},
    }
    assert kind_of(document, AGENT_KINDS) is ClusterNetworkPolicy
    found = decode(document, ClusterNetworkPolicy, "test")
    assert decode_json(msgspec.json.encode(document), ClusterNetworkPolicy, "test") == found
    assert isinstance(found, ClusterNetworkPolicy)
    return found


def egress(**changes: Any) -> ClusterNetworkPolicy:
    return policy(egress=[{**RULE, **changes}])


def pod(namespace: str = "x", *, host: bool = False, **labels: str) -> Pod:
    document = {
        "metadata": {"name": "p", "namespace": namespace, "labels": labels},
        "spec": {"hostNetwork": host},
    }
    return msgspec.convert(document, Pod)


def test_a_policy_is_read_whole() -> None:
    found = policy()
    assert found.name == ObjectName("", "guard")
    assert (found.tier, found.priority, found.unknown) == (Tier.ADMIN, 10, ())
    (rule,) = found.rules(PolicyType.INGRESS)
    assert (rule.action, rule.name, rule.ports, rule.unknown) == (Action.ACCEPT, "", (), ())
    assert rule.peers[0].namespaces == EVERYTHING
    (rule,) = found.rules(PolicyType.EGRESS)
    assert (rule.action, rule.name) == (Action.DENY, "web")


def test_a_policy_is_written_as_it_was_read() -> None:
    assert msgspec.to_builtins(policy())["spec"] == SPEC


def test_a_policy_without_rules_of_a_direction_has_none() -> None:
    assert policy(ingress=None, egress=[]).rules(PolicyType.INGRESS) == ()
    assert policy(ingress=None, egress=[]).rules(PolicyType.EGRESS) == ()


def test_networks_are_canonical() -> None:
    found = egress(to=[{"networks": ["010.1.2.3/8", "FD00::1/64"]}])
    assert found.rules(PolicyType.EGRESS)[0].peers[0].networks == ("10.0.0.0/8", "fd00::/64")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"tcp": {}}, (Protocol.TCP, None, None, "")),
        ({"udp": {"destinationPort": {"number": 53}}}, (Protocol.UDP, 53, 53, "")),
        (
            {"sctp": {"destinationPort": {"range": {"start": 5, "end": 9}}}},
            (Protocol.SCTP, 5, 9, ""),
        ),
        ({"destinationNamedPort": "dns"}, (None, None, None, "dns")),
    ],
)
def test_protocols_are_ports(written: dict[str, Any], read: tuple[Any, ...]) -> None:
    (port,) = egress(protocols=[written]).rules(PolicyType.EGRESS)[0].ports
    assert (port.protocol, port.first, port.last, port.name) == read
    assert port.unknown == ()


def test_a_subject_is_chosen_by_both_selectors() -> None:
    subject = {
        "pods": {
            "namespaceSelector": {"matchLabels": {"house": "red"}},
            "podSelector": {"matchLabels": {"app": "web"}},
        }
    }
    found = policy(subject=subject)
    assert found.selects(pod(app="web"), {"house": "red"})
    assert not found.selects(pod(app="db"), {"house": "red"})
    assert not found.selects(pod(app="web"), {"house": "blue"})


def test_an_omitted_namespace_selector_is_every_namespace() -> None:
    found = policy(subject={"pods": {"podSelector": {"matchLabels": {"app": "web"}}}})
    assert found.selects(pod(app="web"), {})
    assert not found.selects(pod(app="db"), {})


def test_a_pod_of_the_hosts_network_is_no_subject() -> None:
    assert policy(subject=EVERYONE).selects(pod(), {})
    assert not policy(subject=EVERYONE).selects(pod(host=True), {})
    assert not policy(subject={}).selects(pod(host=True), {})


ONE_PEER = [{"networks": [f"10.{n}.0.0/16" for n in range(26)]}]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("spec.tier", {"tier": "Middle"}),
        ("spec.priority", {"priority": -1}),
        ("spec.priority", {"priority": 1001}),
        ("spec.priority", {"priority": None}),
        ("spec.subject", {"subject": None}),
        ("spec.subject.pods", {"subject": {"namespaces": {}, "pods": {"podSelector": {}}}}),
        ("spec.subject.pods", {"subject": {"pods": {}}}),
        ("spec.egress", {"egress": [RULE] * 26}),
        ("spec.egress[0].action", {"egress": [{**RULE, "action": "Log"}]}),
        ("spec.egress[0].name", {"egress": [{**RULE, "name": "n" * 101}]}),
        ("spec.egress[0].to", {"egress": [{**RULE, "to": []}]}),
        ("spec.egress[0]", {"egress": [{"action": "Deny"}]}),
        ("spec.egress[0].to", {"egress": [{**RULE, "to": [EVERYONE] * 26}]}),
        ("spec.egress[0].protocols", {"egress": [{**RULE, "protocols": [{"tcp": {}}] * 26}]}),
        ("spec.egress[0].protocols", {"egress": [{**RULE, "protocols": []}]}),
        ("spec.egress[0].to[0].networks", {"egress": [{**RULE, "to": ONE_PEER}]}),
        ("spec.egress[0].to[0].networks", {"egress": [{**RULE, "to": [{"networks": ["x"]}]}]}),
        (
            "spec.egress[0].to[0].nodes",
            {"egress": [{**RULE, "to": [{"nodes": {}, "namespaces": {}}]}]},
        ),
        (
            "spec.egress[0].protocols[0].udp",
            {"egress": [{**RULE, "protocols": [{"tcp": {}, "udp": {}}]}]},
        ),
        (
            "spec.egress[0].protocols[0].tcp.destinationPort.range.end",
            {
                "egress": [
                    {
                        **RULE,
                        "protocols": [
                            {"tcp": {"destinationPort": {"range": {"start": 9, "end": 9}}}}
                        ],
                    }
                ]
            },
        ),
        (
            "spec.egress[0].protocols",
            {
                "egress": [
                    {
                        **RULE,
                        "to": [{"networks": ["10.0.0.0/8"]}],
                        "protocols": [{"destinationNamedPort": "web"}],
                    }
                ]
            },
        ),
    ],
)
def test_what_breaks_the_apis_rules_is_one_error_that_names_the_field(
    field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ObjectError) as caught:
        policy(**changes)
    assert caught.value.object == "ClusterNetworkPolicy guard"
    assert caught.value.field == field
    assert caught.value.reason


def test_a_word_that_is_none_of_the_choices_is_told_with_them() -> None:
    with pytest.raises(ObjectError, match=r"'Log'; use Accept, Deny or Pass$"):
        egress(action="Log")
    with pytest.raises(ObjectError, match=r"'Middle'; use Admin or Baseline$"):
        policy(tier="Middle")


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("to[0].domainNames", {"to": [{"domainNames": ["example.org"]}]}),
        ("to[0].vms", {"to": [{"vms": {}}]}),
        ("to[0]", {"to": [{}]}),
        ("to[0]", {"to": [{"namespaces": None}]}),
        ("to[1].planets", {"to": [EVERYONE, {"nodes": {}, "planets": []}]}),
        ("to[0].namespaces.matchMoons", {"to": [{"namespaces": {"matchMoons": {}}}]}),
        (
            "to[0].pods.podSelector.matchExpressions[0].weight",
            {
                "to": [
                    {
                        "pods": {
                            "podSelector": {
                                "matchExpressions": [
                                    {"key": "a", "operator": "Exists", "weight": 1}
                                ]
                            }
                        }
                    }
                ]
            },
        ),
        ("protocols[0].icmp", {"protocols": [{"icmp": {"type": 8}}]}),
        ("protocols[0]", {"protocols": [{}]}),
        ("protocols[0].tcp.sourcePort", {"protocols": [{"tcp": {"sourcePort": 1}}]}),
        ("protocols[0].tcp.destinationPort", {"protocols": [{"tcp": {"destinationPort": {}}}]}),
        ("schedule", {"schedule": "daily"}),
    ],
)
def test_an_unknown_field_of_a_rule_is_told_by_that_rule(
    path: str, changes: dict[str, Any]
) -> None:
    found = policy(egress=[RULE, {**RULE, **changes}])
    first, second = found.rules(PolicyType.EGRESS)
    assert first.unknown == ()
    assert f"spec.egress[1].{path}" in second.unknown
    assert set(second.unknown) == set(found.unknown)
    inner = [row.unknown for row in second.peers] + [row.unknown for row in second.ports]
    assert all(set(paths) <= set(second.unknown) for paths in inner)


def test_sources_have_no_networks_yet() -> None:
    found = policy(ingress=[{"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}])
    (rule,) = found.rules(PolicyType.INGRESS)
    assert "spec.ingress[0].from[0].networks" in rule.unknown


@pytest.mark.parametrize("subject", [{}, {"vms": {}}, {"namespaces": {"matchMoons": {}}}])
def test_an_unknown_subject_is_every_pod(subject: dict[str, Any]) -> None:
    found = policy(subject=subject)
    assert found.selects(pod(), {"house": "blue"})
    assert any(path.startswith("spec.subject") for path in found.unknown)
    assert found.rules(PolicyType.EGRESS)[0].unknown == ()


def test_an_unknown_field_beside_the_rules_is_one_of_each_rule() -> None:
    found = policy(enforcement="audit")
    assert found.unknown == ("spec.enforcement",)
    for direction in PolicyType:
        (rule,) = found.rules(direction)
        assert rule.unknown == ("spec.enforcement",)


@pytest.mark.parametrize(
    ("path", "words", "changes"),
    [
        ("spec.egress[0].name2", "this rule accepts nothing", {}),
        ("spec.egress[1].to[0].vms", "this rule denies everything", {}),
        ("spec.subject.sameLabels", "about every pod", {}),
        (
            "spec.ingres",
            "its rules fail closed: Accept matches nothing, Deny and Pass deny everything",
            {},
        ),
        ("spec.ingres", "the policy has no rule: it denies nothing", {"egress": [], "ingress": []}),
    ],
)
def test_what_follows_from_an_unknown_field_is_told(
    path: str, words: str, changes: dict[str, Any]
) -> None:
    rules = [{"action": each, "to": [EVERYONE]} for each in ("Accept", "Pass")]
    assert words in policy(**{"egress": rules, **changes}).consequence(path)


def test_a_flood_of_unknown_fields_is_told_in_a_few_words() -> None:
    found = egress(**{f"{number}{'x' * 500}": 1 for number in range(1000)})
    assert len(found.unknown) == 8
    assert all(len(path) < 100 for path in found.unknown)


@pytest.mark.parametrize("inner", ["spec", "spec.subject", "spec.egress[0].to[0].namespaces"])
def test_a_key_that_is_no_text_is_an_error_of_its_object(inner: str) -> None:
    spec = msgspec.json.decode(msgspec.json.encode(SPEC))  # no part of it is shared
    where = {
        "spec": spec,
        "spec.subject": spec["subject"],
        "spec.egress[0].to[0].namespaces": spec["egress"][0]["to"][0]["namespaces"],
    }
    where[inner][1] = 2  # which YAML can say
    with pytest.raises(ObjectError) as caught:
        decode({"metadata": {"name": "guard"}, "spec": spec}, ClusterNetworkPolicy, "test")
    assert caught.value.field == inner


def test_two_policies_of_one_spelling_are_equal() -> None:
    assert policy() == policy()
    assert policy() != policy(priority=11)

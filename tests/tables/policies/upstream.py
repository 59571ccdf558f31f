"""The cases of Kubernetes' own policy tests, by their names, as truth tables of all nine pods.

Source: kubernetes/test/e2e/network/netpol/network_policy.go, 2026. There a case asks the few pairs,
ports and protocols that it is about; here every pair is asked over everything, so a table says of
each what is blocked. Case by case as there:

    TCP       "NetworkPolicy between server and client"              42
    UDP       "… using UDP"                                           3
    SCTP      "… using SCTP"                                          3

The two that are about no packet are in upstream_api.
"""

# ruff: noqa: ARG005 - every table is asked with the same four columns

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from policy_model import block, expression, match, namespaces, pods, policy, port

from podwire_core.objects import KubernetesObject, NetworkPolicy
from policies.three_by_three import NAME, addresses, person, realm

#: Of (source, destination, protocol, port): is it blocked?
Blocked = Callable[[str, str, str, int], bool]


class Step(NamedTuple):
    """Objects that come or change, objects that go, and the table that holds afterwards."""

    blocked: Blocked
    apply: tuple[KubernetesObject, ...] = ()
    remove: tuple[KubernetesObject, ...] = ()


class Case(NamedTuple):
    """A case: `name` is upstream's. over: the protocol of its group."""

    name: str
    steps: tuple[Step, ...]
    over: str = "TCP"

    def __str__(self) -> str:
        return f"{self.over} {self.name}"


BOTH = {"policyTypes": ["Ingress", "Egress"]}
OUT = {"policyTypes": ["Egress"]}
FROM_Y = namespaces(match(**{NAME: "y"}))
FROM_X = namespaces(match(**{NAME: "x"}))
NOT_X = namespaces(expression(NAME, "NotIn", "x"))
B = pods(match(pod="b"))
C = pods(match(pod="c"))


def nobody(*_: object) -> bool:
    """Nothing is blocked."""
    return False


def into_x(_: str, destination: str, *__: object) -> bool:
    """Whatever is sent to a pod of x is blocked."""
    return destination[0] == "x"


def out_of_x(source: str, *_: object) -> bool:
    """Whatever a pod of x sends is blocked."""
    return source[0] == "x"


def only(target: str, *senders: str) -> Blocked:
    """The target hears only these ("y/" is all of y); all else is as if there were no policy."""
    return lambda s, d, *_: d == target and not s.startswith(senders or "nobody")


def onto_a(name: str, *rules: dict[str, Any], **spec: Any) -> NetworkPolicy:
    """A policy of x for its pod a: ingress rules, unless spec says otherwise."""
    return policy(f"x/{name}", podSelector=match(pod="a"), **{"ingress": rules, **spec})


def from_a(name: str, *rules: dict[str, Any]) -> NetworkPolicy:
    """A policy of x for what its pod a sends."""
    return policy(f"x/{name}", podSelector=match(pod="a"), egress=rules, **OUT)


def onto_x(name: str, *rules: dict[str, Any]) -> NetworkPolicy:
    """A policy of x for what all its pods are sent."""
    return policy(f"x/{name}", policyTypes=["Ingress"], ingress=rules)


def of_x(name: str, *rules: dict[str, Any]) -> NetworkPolicy:
    """A policy of x for what all its pods send."""
    return policy(f"x/{name}", egress=rules, **OUT)


def one(name: str, blocked: Blocked, *policies: KubernetesObject, over: str = "TCP") -> Case:
    """A case of one step."""
    return Case(name, (Step(blocked, policies),), over)


def many(name: str, *steps: Step) -> Case:
    """A case of several steps."""
    return Case(name, steps)


X_B = addresses("x/b")
Y_B = addresses("y/b")


def hosts(each: tuple[str, ...]) -> list[str]:
    """The narrowest CIDRs."""
    return [f"{ip}/{128 if ':' in ip else 32}" for ip in each]


#: So wide that all pods are in it, with and without x/b.
WIDE = [block("0.0.0.0/4", hosts(X_B)[0]), block("fd00::/8", hosts(X_B)[1])]

DENY_X = policy("x/deny-all", **BOTH)
PORT_81 = onto_a("allow-client-a-via-ns-selector", {"from": [FROM_Y], "ports": [port(81)]})
PORT_80 = onto_a("allow-client-a-via-ns-selector-80", {"from": [FROM_Y], "ports": [port(80)]})


def ports_from_y(protocol: str) -> Case:
    """Namespace y reaches port 81 of x/a over one protocol."""
    rule = {"from": [FROM_Y], "ports": [port(81, protocol)]}
    return one(
        "should enforce policy based on Ports",
        lambda s, d, proto, n: d == "x/a" and (s[0], proto, n) != ("y", protocol, 81),
        onto_a("allow-client-a-via-ns-selector", rule),
        over=protocol,
    )


def default_deny(protocol: str) -> Case:
    """The first case of each group."""
    deny = onto_x("deny-ingress")
    return one("should support a 'default-deny-ingress' policy", into_x, deny, over=protocol)


def one_pod_of_y(protocol: str) -> Case:
    """Only y/a reaches x/a."""
    return one(
        "should enforce policy to allow traffic only from a pod in a different namespace "
        "based on PodSelector and NamespaceSelector",
        only("x/a", "y/a"),
        onto_a("allow-ns-y-pod-a", {"from": [{**FROM_Y, **pods(match(pod="a"))}]}),
        over=protocol,
    )


CASES = (
    # ------------------------------------------------------------------ server and client
    default_deny("TCP"),
    one(
        "should support a 'default-deny-all' policy",
        lambda s, d, *_: "x" in (s[0], d[0]),
        DENY_X,
    ),
    one(
        "should enforce policy to allow traffic from pods within server namespace "
        "based on PodSelector",
        only("x/a", "x/b"),
        onto_a("x-a-allows-x-b", {"from": [B]}),
    ),
    one(
        "should enforce policy to allow ingress traffic for a target",
        lambda s, d, *_: d in ("x/b", "x/c"),
        onto_x("deny-all"),
        onto_a("allow-all-to-a", {"from": [{**namespaces({}), **pods({})}]}),
    ),
    one(
        "should enforce policy to allow ingress traffic from pods in all namespaces",
        nobody,
        onto_a("allow-from-another-ns", {"from": [namespaces({})]}),
    ),
    one(
        "should enforce policy to allow traffic only from a different namespace, "
        "based on NamespaceSelector",
        only("x/a", "y/"),
        onto_a("allow-client-a-via-ns-selector", {"from": [FROM_Y]}),
    ),
    one(
        "should enforce policy based on PodSelector with MatchExpressions",
        only("x/a", "x/b"),
        onto_a("x-a-allows-x-b", {"from": [pods(expression("pod", "In", "b"))]}),
    ),
    one(
        "should enforce policy based on NamespaceSelector with MatchExpressions",
        only("x/a", "y/"),
        onto_a("allow-ns-y", {"from": [namespaces(expression(NAME, "In", "y"))]}),
    ),
    one(
        "should enforce policy based on PodSelector or NamespaceSelector",
        only("x/a", "x/b", "y/", "z/"),
        onto_a("allow-ns-y", {"from": [NOT_X, B]}),
    ),
    one(
        "should enforce policy based on PodSelector and NamespaceSelector",
        only("x/a", "y/b", "z/b"),
        onto_a("allow-ns-y-and-pod-b", {"from": [{**NOT_X, **B}]}),
    ),
    one(
        "should enforce policy based on Multiple PodSelectors and NamespaceSelectors",
        only("x/a", "y/b", "y/c", "z/b", "z/c"),
        onto_a(
            "allow-ns-y-z-pod-b-c", {"from": [{**NOT_X, **pods(expression("pod", "In", "b", "c"))}]}
        ),
    ),
    one(
        "should enforce policy based on any PodSelectors",
        only("x/a", "x/b", "x/c"),
        onto_a("allow-ns-x-pod-b-c", {"from": [B, C]}),
    ),
    one_pod_of_y("TCP"),
    ports_from_y("TCP"),
    many(
        "should enforce multiple, stacked policies with overlapping podSelectors",
        Step(
            lambda s, d, proto, n: d == "x/a" and (s[0], proto, n) != ("y", "TCP", 81), (PORT_81,)
        ),
        Step(lambda s, d, proto, n: d == "x/a" and (s[0], proto) != ("y", "TCP"), (PORT_80,)),
    ),
    one("should support allow-all policy", nobody, onto_x("allow-all", {})),
    one(
        "should allow ingress access on one named port",
        lambda s, d, proto, n: d[0] == "x" and (proto, n) != ("TCP", 81),
        onto_x("allow-all", {"ports": [{"port": "serve-81-tcp"}]}),
    ),
    one(
        "should allow ingress access from namespace on one named port",
        lambda s, d, proto, n: d == "x/a" and (s[0], proto, n) != ("y", "TCP", 80),
        onto_a("allow-named", {"from": [FROM_Y], "ports": [port("serve-80-tcp")]}),
    ),
    one(
        "should allow egress access on one named port",
        lambda s, d, proto, n: s[0] == "x" and (proto, n) != ("TCP", 80),
        of_x("allow-egress", {"ports": [{"port": "serve-80-tcp"}]}),
    ),
    many(
        "should enforce updated policy",
        Step(nobody, (onto_x("allow-all-mutate-to-deny-all", {}),)),
        Step(into_x, (onto_x("allow-all-mutate-to-deny-all"),)),
    ),
    many(
        "should allow ingress access from updated namespace",
        Step(only("x/a"), (onto_a("allow-ns2", {"from": [namespaces(match(ns2="updated"))]}),)),
        Step(only("x/a", "y/"), (realm("y", ns2="updated"),)),
    ),
    many(
        "should allow ingress access from updated pod",
        Step(
            only("x/a"), (onto_a("allow-pod2", {"from": [pods(match(pod="b", pod2="updated"))]}),)
        ),
        Step(only("x/a", "x/b"), (person("x/b", pod2="updated"),)),
    ),
    one(
        "should deny ingress from pods on other namespaces",
        lambda s, d, *_: d[0] == "x" and s[0] != "x",
        onto_x("deny-empty-policy", {"from": [pods({})]}),
    ),
    many(
        "should deny ingress access to updated pod",
        Step(nobody, (policy("x/isolated", podSelector=match(target="isolated"), ingress=[]),)),
        Step(only("x/a"), (person("x/a", target="isolated"),)),
    ),
    one(
        "should deny egress from pods based on PodSelector",
        lambda s, d, *_: s == "x/a",
        from_a("deny-egress-pod-a"),
    ),
    one("should deny egress from all pods in a namespace", out_of_x, of_x("deny-egress-ns-x")),
    one(
        "should work with Ingress, Egress specified together",
        lambda s, d, proto, n: (
            (d == "x/a" and s != "x/b") or (s == "x/a" and (proto, n) != ("TCP", 80))
        ),
        onto_a("both", {"from": [B]}, egress=[{"ports": [port(80)]}], **BOTH),
    ),
    one(
        "should support denying of egress traffic on the client side "
        "(even if the server explicitly allows this traffic)",
        lambda s, d, *_: (s == "x/a" and d != "y/a") or (d in ("y/a", "y/b") and s != "x/a"),
        from_a("allow-to-ns-y-pod-a", {"to": [{**FROM_Y, **pods(match(pod="a"))}]}),
        *(
            policy(
                f"y/allow-from-xa-on-y{each}",
                podSelector=match(pod=each),
                ingress=[{"from": [{**FROM_X, **pods(match(pod="a"))}]}],
            )
            for each in "ab"
        ),
    ),
    one(
        "should enforce egress policy allowing traffic to a server in a different namespace "
        "based on PodSelector and NamespaceSelector",
        lambda s, d, *_: s == "x/a" and d != "y/a",
        from_a("allow-to-ns-y-pod-a", {"to": [{**FROM_Y, **pods(match(pod="a"))}]}),
    ),
    one(
        "should enforce ingress policy allowing any port traffic to a server "
        "on a specific protocol",
        lambda s, d, proto, n: d == "x/a" and proto != "TCP",
        onto_a("allow-ingress-by-proto", {"ports": [port()]}),
    ),
    many(
        "should enforce multiple ingress policies with ingress allow-all policy taking precedence",
        Step(
            lambda s, d, proto, n: d[0] == "x" and (proto, n) != ("TCP", 80),
            (onto_x("allow-ingress-port-80", {"ports": [{"port": 80}]}),),
        ),
        Step(nobody, (onto_x("allow-ingress", {}),)),
    ),
    many(
        "should enforce multiple egress policies with egress allow-all policy taking precedence",
        Step(
            lambda s, d, proto, n: s[0] == "x" and (proto, n) != ("TCP", 80),
            (of_x("allow-egress-port-80", {"ports": [{"port": 80}]}),),
        ),
        Step(nobody, (of_x("allow-egress", {}),)),
    ),
    many(
        "should stop enforcing policies after they are deleted",
        Step(lambda s, d, *_: "x" in (s[0], d[0]), (DENY_X,)),
        Step(nobody, remove=(DENY_X,)),
    ),
    one(
        "should allow egress access to server in CIDR block",
        lambda s, d, *_: s == "x/a" and d != "y/b",
        from_a("allow-cidr", {"to": [block(each) for each in hosts(Y_B)]}),
    ),
    one(
        "should enforce except clause while egress access to server in CIDR block",
        lambda s, d, *_: (s, d) == ("x/a", "x/b"),
        from_a("allow-cidr", {"to": WIDE}),
    ),
    many(
        "should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed",
        Step(lambda s, d, *_: (s, d) == ("x/a", "x/b"), (from_a("allow-cidr", {"to": WIDE}),)),
        Step(
            lambda s, d, *_: s == "x/a" and d != "x/b",
            (from_a("allow-cidr", {"to": [block(each) for each in hosts(X_B)]}),),
        ),
        # Upstream once added it beside the first, which its name still says.
        Step(nobody, (from_a("allow-wide", {"to": WIDE}),)),
    ),
    many(
        "should enforce policies to check ingress and egress policies can be controlled "
        "independently based on PodSelector",
        Step(nobody, (from_a("allow-egress-for-target", {}),)),
        Step(only("x/a"), (onto_a("deny-ingress-via-label-selector"),)),
    ),
    one(
        "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', "
        "even if the plugin doesn't support SCTP",
        lambda s, d, proto, n: d[0] == "x" and (d, proto, n) != ("x/a", "SCTP", 81),
        onto_x("deny-ingress"),
        onto_a("allow-only-sctp-ingress-on-port-81", {"ports": [port(81, "SCTP")]}),
    ),
    one(
        "should properly isolate pods that are selected by a policy allowing SCTP, "
        "even if the plugin doesn't support SCTP",
        lambda s, d, proto, n: d == "x/a" and (proto, n) != ("SCTP", 80),
        onto_a("allow-only-sctp-ingress-on-port-80", {"ports": [port(80, "SCTP")]}),
    ),
    one(
        "should not allow access by TCP when a policy specifies only UDP",
        lambda s, d, proto, n: d == "x/a" and (proto, n) != ("UDP", 81),
        onto_a("allow-only-udp-ingress-on-port-81", {"ports": [port(81, "UDP")]}),
    ),
    one(
        "should enforce policy to allow traffic based on NamespaceSelector with MatchLabels "
        "using default ns label",
        only("x/a", "y/"),
        onto_a("allow-immutable-ns-label", {"from": [FROM_Y]}),
    ),
    one(
        "should enforce policy based on NamespaceSelector with MatchExpressions "
        "using default ns label",
        lambda s, d, *_: s == "x/a" and d[0] == "y",
        from_a("allow-not-y", {"to": [namespaces(expression(NAME, "NotIn", "y"))]}),
    ),
    # ------------------------------------------------------------------------- using UDP
    default_deny("UDP"),
    ports_from_y("UDP"),
    one_pod_of_y("UDP"),
    # ------------------------------------------------------------------------ using SCTP
    default_deny("SCTP"),
    ports_from_y("SCTP"),
    one_pod_of_y("SCTP"),
)

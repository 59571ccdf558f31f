"""What a person reads: everything that decides, in 80 columns."""

from __future__ import annotations

import io

import msgspec
import small_shop
from msgspec.structs import replace
from rich.console import Console

from podwire_node.explain.answer import (
    DecisionAnswer,
    EndAnswer,
    Explanation,
    FlowAnswer,
    KernelAnswer,
    StepAnswer,
    Verdict,
    explanation,
    verdict_of,
)
from podwire_node.explain.shown import shown
from podwire_node.explain.sides import side_answer
from podwire_policy.oracle import Judge

WALK = (
    StepAnswer("forward", "forward", "", "jump egress"),
    StepAnswer("forward", "egress-namespaced", "isolated?", "10.244.1.4 : goto egress-0a1b2c3d"),
    StepAnswer("forward", "egress-0a1b2c3d", "isolated by shop/web", "drop", 12),
)


def flow(source: str, destination: str, port: int, kernel: KernelAnswer) -> FlowAnswer:
    judge = Judge(small_shop.snapshot())
    ends = [small_shop.address(name) for name in (source, destination)]
    judged = judge.judge(*ends, "TCP", port)
    nodes = [small_shop.PODS[name][0] for name in (source, destination)]
    return FlowAnswer(
        EndAnswer(ends[0], source, nodes[0]),
        EndAnswer(ends[1], destination, nodes[1]),
        port,
        "TCP",
        judged.allowed,
        side_answer(judge, judged, judged.egress),
        side_answer(judge, judged, judged.ingress),
        kernel,
    )


def read(*flows: FlowAnswer, notes: tuple[str, ...] = ()) -> str:
    found = Explanation("node1", "shop/web", "shop/api:80", verdict_of(flows), flows, notes)
    printed = io.StringIO()
    console = Console(file=printed, width=80)
    for each in shown(found):
        console.print(each)
    text = printed.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.replace("│", " ").split())


def test_a_rules_name_cannot_drive_a_terminal() -> None:
    wild = "\x1b[2J rule \x07 of\nlines"
    found = flow("shop/web", "data/db", 5432, KernelAnswer("node1", True))
    rule = DecisionAnswer("Admin", wild, "Pass")
    side = replace(found.egress, reason=wild, nearest_miss=f"near {wild}", passed=(rule,))
    kernel = KernelAnswer("node1", False, ("egress",), (StepAnswer("", "", wild, wild),), (wild,))
    found = replace(found, egress=side, kernel=kernel, differs=True)
    text = read(found, notes=(wild,))
    assert "rule" in text
    assert text.isprintable()


def test_a_denial_names_the_policies_the_nearest_miss_and_the_rule_in_the_kernel() -> None:
    kernel = KernelAnswer("node1", allowed=False, judges=("egress",), steps=WALK)
    text = read(flow("shop/web", "data/db", 5432, kernel))
    assert "DENIED" in text
    for words in ("shop/web", "isolate", "nearest", "goto", "→ drop (12", "✗ dropped"):
        assert words in text, words
    assert "jump egress" not in text
    assert "data/db runs" in text, "who else has to be asked"


def test_endpoints_that_are_alike_are_one_table() -> None:
    kernel = KernelAnswer("node1", allowed=True, judges=("egress",))
    pair = [flow("shop/web", f"shop/api-{n}", 8080, kernel) for n in (1, 2)]
    text = read(*pair, notes=("there are more",))
    assert text.count("policies' text") == 1
    assert "the same for shop/api-2 (10.244.2.5)" in text
    assert "note: there are more" in text
    assert "ALLOWED" in text


def test_what_is_wrong_in_the_kernel_stands_below_its_table() -> None:
    kernel = KernelAnswer(
        "node1", True, ("egress",), WALK[:2], ("10.244.1.4 is not in egress-isolated",)
    )
    odd = msgspec.structs.replace(flow("shop/web", "data/db", 5432, kernel), differs=True)
    fine = flow("shop/web", "shop/api-1", 8080, KernelAnswer("node1", True, ("egress",)))
    text = read(fine, odd)
    assert "THE KERNEL DIFFERS" in text
    assert "10.244.1.4 is not in egress-isolated" in text
    assert text.index("data/db") < text.index("api-1"), "what needs a look comes first"


def test_the_verdict_is_of_all_connections() -> None:
    kernel = KernelAnswer("node1", True)
    fine = flow("shop/web", "shop/api-1", 8080, kernel)
    bad = flow("shop/web", "data/db", 1, kernel)
    assert verdict_of((fine, fine)) is Verdict.ALLOWED
    assert verdict_of((bad,)) is Verdict.DENIED
    assert verdict_of((fine, bad)) is Verdict.PARTLY
    odd = msgspec.structs.replace(fine, differs=True)
    assert verdict_of((odd, bad)) is Verdict.DIFFERS


def test_an_answer_is_read_back_as_it_was() -> None:
    flows = (flow("shop/web", "data/db", 5432, KernelAnswer("node1", False, steps=WALK)),)
    answer = Explanation("node1", "a/b", "c/d", Verdict.DENIED, flows)
    assert explanation(msgspec.json.decode(msgspec.json.encode(answer))) == answer

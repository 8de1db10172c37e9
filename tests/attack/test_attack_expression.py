"""Regular expressions that a tenant writes to stop the operator: their time is bounded, they leave the loop free, they
start no process, and what the engine can't bound is refused with the field's path."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import psutil
import pytest

from agui_operator.api.expression import ExpressionInvalid, is_found
from agui_operator.api.lint import lint_documents
from agui_operator.api.parse import SpecInvalid, parse_deployment
from agui_operator.checks.pattern import Searches

LONG = "a" * 64 * 1024
SLOW = [
    "(a+)+$b",
    r"((\w|\s|\.)+)+x!",
    "^(a|a)*$b",
    "(a*)*(a*)*(a*)*(a*)*(a*)*b",
    "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^a]$",
    "(a?){900}b",
    "(.*a.{200})b",
    "[ab]*a[ab]{500}c",
    "(?:(?:[ab]?){30}){15}c",
    "(x+x+)+y",
    r"(\pL*)*1",
    "(?i)(a+a+)+b",
    "((((((a*)*)*)*)*)*)*b",
]
REFUSED = [
    "(?=a)b",
    "(?!a)b",
    "(?<=a)b",
    "(?<!a)b",
    r"(a)\1",
    "(?P<x>a)(?P=x)",
    "(?>a)",
    "a++",
    "(",
    "[",
    "a{1001}",
    "(a{100}){100}",
    "((((a{10}){10}){10}){10}){10}",
    r"\pL{1000}",
    r"(?i)(?:\pL{0,20}){0,10}9",
    "(a?){1000}b",
    "(?i)" + r"\pL" * 150,
]


def deployment(pattern: str) -> dict[str, Any]:
    return {
        "environmentRef": {"name": "prod"},
        "backend": {"image": "europe-west1-docker.pkg.dev/demo/agui/shop:v1", "serviceAccount": "shop-runtime"},
        "smoke": [{"name": "talk", "agent": {"say": "hi", "expect": [{"finished": True}, {"text": pattern}]}}],
    }


@pytest.mark.parametrize("pattern", SLOW)
def test_the_time_of_a_search_is_bounded(pattern: str) -> None:
    parse_deployment(deployment(pattern))
    began = time.thread_time()
    assert not is_found(pattern, LONG)
    assert time.thread_time() - began < 4, "about 0.8 s at worst; exponential patterns take years"


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_the_engine_does_not_bound_is_refused_with_the_field(pattern: str) -> None:
    with pytest.raises(ExpressionInvalid):
        is_found(pattern, "a")
    began = time.thread_time()
    with pytest.raises(SpecInvalid) as refused:
        parse_deployment(deployment(pattern))
    assert time.thread_time() - began < 1
    assert str(refused.value).startswith(
        "spec.smoke[0].agent.expect[1].text: must be a regular expression (the pattern "
    )
    assert "without look-around and back references" in str(refused.value)


def test_lint_says_the_same() -> None:
    head = {"apiVersion": "agui.dev/v1alpha1", "kind": "AgUiDeployment", "metadata": {"name": "shop"}}
    text = json.dumps({**head, "spec": deployment("(?=a)b")})
    (finding,) = [line for line in lint_documents(text, "a.yaml") if "smoke" in line]
    assert "spec.smoke[0].agent.expect[1].text: must be a regular expression" in finding


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^Order 42:", "Order 42: shipped"),
        (r"\bpaid\b", "it was paid."),
        ("(?i)OLÁ", "olá, mundo"),
        (r"^\pL+$", "ação"),
        ("a.b", "a\ud800b"),
        ("x", "x" * 70_000),
    ],
)
def test_honest_patterns_are_found(pattern: str, text: str) -> None:
    assert is_found(pattern, text)


async def test_a_flood_leaves_the_loop_free_and_starts_no_process() -> None:
    searches = Searches()
    await searches.found("a", "a", "warm")
    flood = [asyncio.create_task(searches.found("(a?){900}b", LONG, "attacker")) for _ in range(30)]
    worst, last = 0.0, time.monotonic()
    for _ in range(40):
        await asyncio.sleep(0.01)
        worst, last = max(worst, time.monotonic() - last), time.monotonic()
    began = time.monotonic()
    assert await searches.found("^Order", "Order 42", "victim")
    assert time.monotonic() - began < 1, "another namespace does not wait for the flood"
    assert not all(task.done() for task in flood)
    assert worst < 1
    assert psutil.Process().children() == []
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)

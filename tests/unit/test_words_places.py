"""Where words of others enter the operator: a closed list, and a rule that finds an entrance that is not in it.

Such text becomes `Words` where it is read. So a message of a reply is read inside `Words.of_...` or `CloudError`, and
no message of a check is made from what a release answered.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from google.cloud import run_v2

import agui_app
import agui_operator
from agui_app.runs.endings import CODES
from agui_operator.checks import codes
from agui_operator.core.run_reasons import REASONS

ROOT = Path(agui_operator.__file__).parent
ENTRANCES = {
    "checks/agent_check.py": 1,  # the wanted code, to be compared
    "checks/agent_run.py": 3,  # code of an error, reason of an interrupt, rule of a guardrail
    "checks/assets_check.py": 1,  # a file that a published page names
    "checks/run.py": 1,  # schema names of /version
    "core/errors.py": 1,  # texts of API errors
    "gcp/kinds/run/log.py": 1,  # lines of a log
    "gcp/kinds/sql/backup.py": 1,  # why a backup failed
    "gcp/transport/run_views.py": 3,  # why a service, a job, an execution failed
    "gcp/transport/translation.py": 1,  # how an operation of Cloud Run ended
}
MAKERS = ("of_workload", "of_api", "published")
TAKERS = (*MAKERS, "CloudError")
# Functions that read a message and give it on to a CloudError or to Words in their module.
READERS = {("translation.py", "_read_body"), ("translation.py", "from_google"), ("log.py", "_text")}
READERS |= {("operations.py", "_first_error"), ("translation.py", "from_reply")}
# What a release answered, by the attributes that hold it.
ANSWERS = {"body", "data", "text", "texts", "tools", "state", "error_code", "blocked", "headers", "messages"}


def trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text())


def called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def with_parents(tree: ast.AST, above: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    for node in ast.iter_child_nodes(tree):
        yield node, above
        yield from with_parents(node, (*above, node))


def is_message(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "message" and isinstance(node.ctx, ast.Load)
    names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)] if isinstance(node, ast.Call) else []
    return called(node) == "get" and names[:1] == ["message"]


def strays(tree: ast.AST, file: str) -> list[int]:
    """Lines that read a message and keep it as a text."""
    found = []
    for node, above in with_parents(tree):
        inside = [parent.name for parent in above if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef)]
        if not is_message(node) or any((file, name) in READERS for name in inside):
            continue
        condition = any(
            isinstance(parent, ast.comprehension | ast.If | ast.IfExp | ast.BoolOp) for parent in above[-2:]
        )
        if not condition and not any(called(parent) in TAKERS for parent in above):
            found.append(getattr(node, "lineno", 0))
    return found


def quoted(tree: ast.AST) -> list[int]:
    """Lines whose formatted text has a part of an answer that did not ask."""
    found = []
    for node, above in with_parents(tree):
        formatted = any(isinstance(parent, ast.JoinedStr) for parent in above)
        asks = any(called(parent) in ("told", "among", "published", "len") for parent in above)
        tests = any(isinstance(parent, ast.IfExp) and node is parent.test for parent in above)
        owner = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
        if isinstance(node, ast.Attribute) and node.attr in ANSWERS and formatted and not asks and not tests:
            found += [node.lineno] if owner != "wanted" else []  # `wanted` is the spec's
    return found


def test_the_entrances_are_these() -> None:
    calls = Counter[str]()
    for path, tree in trees("."):
        where = path.relative_to(ROOT).as_posix()
        calls[where] += sum(called(node) in MAKERS for node in ast.walk(tree)) if where != "core/words.py" else 0
    assert {where: count for where, count in calls.items() if count} == ENTRANCES


@pytest.mark.parametrize("folder", ["gcp", "checks"])
def test_no_message_of_a_reply_is_kept_as_a_text(folder: str) -> None:
    found = {f"{path.name}:{line}" for path, tree in trees(folder) for line in strays(tree, path.name)}
    ours = {
        name for name in found if name.startswith(("run.py", "conversation.py"))
    }  # Failed and Passed have our words
    assert found - ours == set()


def test_no_message_of_a_check_quotes_an_answer() -> None:
    assert [f"{path.name}:{line}" for path, tree in trees("checks") for line in quoted(tree)] == []


def test_the_rules_find_what_they_look_for() -> None:
    assert strays(ast.parse("def f(c):\n    return View(str(c.message))"), "x.py") == [2]
    assert strays(ast.parse("def f(r):\n    return View(r.get('message', ''))"), "x.py") == [2]
    assert strays(ast.parse("def f(c):\n    return View(Words.of_workload(c.message))"), "x.py") == []
    assert quoted(ast.parse("raise Failed(f'got {reply.body}')")) == [1]
    assert quoted(ast.parse("raise Failed(f'got {run.error_code.among(known, shown)}')")) == []


def test_the_documented_codes_are_those_of_the_sample_application() -> None:
    """A code that the application learns is one that a message may repeat."""
    rules = yaml.safe_load((Path(agui_app.__file__).parent / "data/guardrails.yaml").read_text())["rules"]
    assert set(CODES) == codes.RUN_ERRORS
    assert {rule["id"] for rule in rules} == codes.GUARDRAIL_RULES


def test_every_code_of_a_failed_condition_has_a_sentence() -> None:
    """But for those that mean that something goes on, or say less than the ones that stand beside them."""
    enums = (run_v2.Condition.CommonReason, run_v2.Condition.ExecutionReason)
    known = {member.name for enum in enums for member in enum if member.value}
    going_on = {"WAITING_FOR_OPERATION", "IMMEDIATE_RETRY", "POSTPONED_RETRY", "CANCELLING", "DELAYED_START_PENDING"}
    assert known - going_on - {"UNKNOWN", "UNKNOWN_REASON", "ROUTE_MISSING"} <= set(REASONS)

"""What may be shown of others' words: by policy, as everything that a deployment uses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agui_operator.api.parse import parse_deployment, parse_policy
from agui_operator.api.policy import AgUiPolicySpec, Diagnostics
from agui_operator.core.disclosure import disclosure_of
from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError, UserError, told, trace_of
from agui_operator.core.masking import bounded, masked
from agui_operator.core.permitted import Unreadable
from agui_operator.core.run_reasons import REASONS
from agui_operator.core.snapshot import ExecutionView, ServiceView
from agui_operator.core.templates import to_json
from agui_operator.core.words import NO_LINES, UNDISCLOSED, UNSAID, Disclosure, LogLines, Words, highest, published
from world_model import FIRST, revision_of

SPEC = parse_deployment(
    {
        "environmentRef": {"name": "prod"},
        "backend": {
            "image": "us-docker.pkg.dev/acme/agui/app:v1",
            "serviceAccount": "shop-runtime",
            "env": [{"name": "COLOUR", "value": "mauve"}, {"name": "SHADE", "value": "mauve"}],
        },
    }
)
PLACE = Place(project="acme", region="us-central1", assets_bucket="", artifacts_bucket="", sql_instance=None, edge=None)


def policy(level: str | None = None, **more: Any) -> AgUiPolicySpec:
    spec = {
        "namespaces": ["shop"],
        "projects": ["acme"],
        "regions": ["*"],
        "serviceAccounts": ["*"],
        "imageRepositories": ["us-docker.pkg.dev/acme"],
        "ingress": ["InternalAndCloudLoadBalancing"],
        **more,
    }
    return parse_policy(spec | ({"diagnostics": level} if level else {}))


def level(*policies: AgUiPolicySpec, spec: Any = SPEC, place: Any = PLACE, broken: Any = ()) -> Diagnostics:
    return disclosure_of(spec, place, "shop", policies, broken).level


def test_diagnostics_are_forbidden_unless_a_policy_permits_them() -> None:
    assert level() is Diagnostics.NONE
    assert level(policy()) is Diagnostics.NONE
    assert level(policy("None")) is Diagnostics.NONE
    assert level(policy("Messages")) is Diagnostics.MESSAGES
    assert level(policy("LogLines")) is Diagnostics.LOG_LINES


def test_it_counts_where_the_same_policy_permits_all_of_the_deployment() -> None:
    assert level(policy("LogLines", projects=["other"]), policy("Messages")) is Diagnostics.MESSAGES
    assert level(policy("LogLines", projects=["other"]), policy()) is Diagnostics.NONE
    assert level(policy("Messages"), policy("LogLines")) is Diagnostics.LOG_LINES
    assert level(policy("LogLines", namespaces=["shop-b"])) is Diagnostics.NONE


def test_nothing_is_shown_of_what_cannot_be_read() -> None:
    assert level(policy("LogLines"), spec=None) is Diagnostics.NONE
    assert level(policy("LogLines"), place=None) is Diagnostics.NONE
    assert level(policy("LogLines"), broken=[Unreadable("p", ("shop",), "?")]) is Diagnostics.NONE
    assert level(policy("LogLines"), broken=[Unreadable("p", ("another",), "?")]) is Diagnostics.LOG_LINES


def test_the_variables_of_the_spec_and_of_the_releases_are_hidden() -> None:
    template = revision_of("aaaa", "img")
    env = {"OLD": "lilac", "AGUI_VERSION": "9.9.9"}
    release = replace(FIRST, template=to_json(replace(template, container=replace(template.container, env=env))))
    hidden = disclosure_of(SPEC, PLACE, "shop", [], (), (release, None, replace(FIRST, template="damaged"))).hidden
    assert {"mauve", "lilac"} <= set(hidden)
    assert "9.9.9" not in hidden, "what the operator sets is no secret"
    assert len(hidden) == len(set(hidden))
    assert disclosure_of(None, None, "shop", []).hidden == ()


def test_levels_have_an_order() -> None:
    assert highest([]) is Diagnostics.NONE
    assert highest([Diagnostics.MESSAGES, Diagnostics.LOG_LINES, Diagnostics.NONE]) is Diagnostics.LOG_LINES
    shown = [(Disclosure(one).messages, Disclosure(one).log_lines) for one in Diagnostics]
    assert shown == [(False, False), (True, False), (True, True)]


def test_a_documented_code_needs_no_permission() -> None:
    known = frozenset({"RUN_TIMEOUT"})
    assert Words.of_workload("RUN_TIMEOUT").among(known, UNDISCLOSED) == "RUN_TIMEOUT"
    assert Words.of_workload("OTHER").among(known, UNDISCLOSED) == "unknown"
    assert Words.of_workload("OTHER").among(known, UNDISCLOSED, "another") == "another"
    assert Words.of_workload("OTHER").among(known, Disclosure(Diagnostics.MESSAGES)) == "OTHER"


@pytest.mark.parametrize("said", [None, 7, {"a": 1}])
def test_what_is_no_text_says_nothing(said: object) -> None:
    assert not Words.of_workload(said)
    assert Words.of_workload(said) == UNSAID
    assert not NO_LINES
    assert LogLines.of_workload(["x"])


def test_a_failed_execution_says_code_and_log_and_the_rest_by_permission() -> None:
    lines = LogLines.of_workload([f"line {n}" for n in range(9)] + [""])
    said = Words.of_workload("Task t failed")
    view = ExecutionView("e", False, "NON_ZERO_EXIT_CODE", said, ended="exit code 1", log="log: here", lines=lines)
    text = "exit code 1: the container exited with an error (NON_ZERO_EXIT_CODE)"
    assert view.why(UNDISCLOSED) == f"{text} (log: here)"
    assert view.why(Disclosure(Diagnostics.MESSAGES)) == f"{text}: Task t failed (log: here)"
    shown = view.why(Disclosure(Diagnostics.LOG_LINES))
    assert shown.endswith("(log: here); last lines of the log: line 4 | line 5 | line 6 | line 7 | line 8")
    assert replace(view, succeeded=True).why(UNDISCLOSED) == ""
    assert replace(view, ended="", log="").why(UNDISCLOSED) == text.removeprefix("exit code 1: ")


def test_of_long_lines_the_newest_are_shown() -> None:
    shown = LogLines.of_workload([f"{n} {'word ' * 30}" for n in range(5)]).told(Disclosure(Diagnostics.LOG_LINES))
    assert (shown[:2], shown.count(" | ")) == ("3 ", 1)
    assert len(LogLines.of_workload(["word " * 300] * 2).told(Disclosure(Diagnostics.LOG_LINES))) == 200


def test_a_reason_that_is_not_known_says_so() -> None:
    view = ServiceView("s", "", "", "", (), (), {}, "", "", "", False, False)
    assert view.why(UNDISCLOSED) == "Cloud Run gave no reason that is known here"
    assert replace(view, reason="the execution is gone").why(UNDISCLOSED) == "the execution is gone"
    assert all((text and text[0].islower()) or text[:5] in ("Cloud", "Binar") for text in REASONS.values())


def test_an_api_error_is_told_masked_and_one_about_a_workload_by_permission() -> None:
    hidden = Disclosure(Diagnostics.NONE, ("mauve",))
    error = CloudError(400, "env COLOUR=mauve, token=abc", method="M", resource="r", status="INVALID_ARGUMENT")
    assert told(error, hidden) == "M (r) answered 400 INVALID_ARGUMENT: env COLOUR=***, token=***"
    assert "mauve" in str(error), "without the spec nobody knows"
    failed = CloudError(400, Words.of_workload("it said mauve"), status="FAILED_PRECONDITION")
    assert "not shown" in told(failed, hidden)
    assert "spec.diagnostics" in str(failed)
    assert told(failed, replace(hidden, level=Diagnostics.MESSAGES)).endswith("FAILED_PRECONDITION: it said ***")
    assert told(UserError("correct it"), hidden) == "correct it"


def test_a_trace_names_the_place_and_not_the_message() -> None:
    try:
        raise ValueError("the secret")
    except ValueError as wrong:
        text = trace_of(wrong)
    assert text.startswith("ValueError at ")
    assert "test_core_words.py" in text
    assert "secret" not in text


def test_a_name_of_a_published_page_is_one_line() -> None:
    assert published("/assets/a-3f9c8a7bB2d1e4F5.js\n\x1b[31m") == "/assets/a-3f9c8a7bB2d1e4F5.js [31m"
    assert len(published("x" * 999)) == 200


def test_a_long_text_is_cut_between_words() -> None:
    assert bounded("word " * 2000).endswith("…")
    assert len(bounded("word " * 2000)) == 400
    assert bounded("x" * 20_000) == "", "a text without a gap is not cut: nothing of it is shown"
    assert masked("abc", ["", "abc", "b"]) == "abc", "short values mean nothing"

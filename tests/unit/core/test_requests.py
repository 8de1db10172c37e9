"""Requests by annotation: values, repetitions from a manifest, misspelt names."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agui_operator.core import requests
from agui_operator.core.kept import kept_annotations
from agui_operator.core.memory import Memory, Obeyed
from agui_operator.core.requests import Refusal, Situation, decide, is_settled, misspelt, parse, remember
from agui_operator.core.rollout import Event, Phase
from agui_operator.core.snapshot import Request, RequestKind
from world_model import FIRST, NOW, SECOND

HELD = Memory(phase=Phase.PAUSED, since=NOW, candidate=SECOND, stable=FIRST)
HERE = Situation(fingerprint="fp-b")
PROMOTE = "agui.dev/promote"


@pytest.mark.parametrize("value", ["true", "True", "yes", "", "1", "2", " 17 ", "2026-11-28T08:00:00Z"])
def test_a_request_is_asked_with_true_a_number_or_a_time(value: str) -> None:
    assert decide(HELD, Request(RequestKind.PROMOTE, value), HERE) is Event.STEP_PASSED


@pytest.mark.parametrize(
    "value", ["🚀", "maybe", "no", "False", "0", "-1", "tru", "true\n\ntrue", "9" * 40, "20 %", "x" * 900]
)
def test_any_other_value_is_refused_with_what_is_expected(value: str) -> None:
    for kind in set(RequestKind) - {RequestKind.UNDO}:
        refusal = decide(HELD, Request(kind, value), HERE)
        assert isinstance(refusal, Refusal)
        assert "use 'true', or a number or a time" in refusal.message
        assert len(refusal.message) < 200


def test_a_manifest_that_keeps_a_request_is_obeyed_once_for_a_spec() -> None:
    asked = Request(RequestKind.PROMOTE, "true", kept=True)
    first = decide(HELD, asked, HERE)
    memory = replace(HELD, obeyed=remember(HELD, asked, first, HERE, NOW))
    assert (first, is_settled(memory, asked, "fp-b")) == (Event.STEP_PASSED, False)
    again = decide(memory, asked, HERE)
    assert isinstance(again, Refusal)
    assert "carried out already at 2026-01-01T00:00:00Z" in again.message
    assert "remove the annotation from Git, or ask again with agui.dev/promote=2" in again.message
    memory = replace(memory, obeyed=remember(memory, asked, again, HERE, NOW + timedelta(minutes=1)))
    assert is_settled(memory, asked, "fp-b")
    assert not is_settled(memory, asked, "fp-c"), "another release is another question"
    for other in (replace(asked, kept=False), replace(asked, value="2")):
        assert decide(memory, other, HERE) is Event.STEP_PASSED
        assert not is_settled(memory, other, "fp-b")
    assert decide(memory, asked, replace(HERE, fingerprint="fp-c")) is Event.STEP_PASSED


@pytest.mark.parametrize(("value", "another"), [("2", "3"), ("yes", "2"), ("9" * 18, "2")])
def test_the_refusal_names_a_value_that_was_not_obeyed(value: str, another: str) -> None:
    asked = Request(RequestKind.ABORT, value, kept=True)
    memory = replace(HELD, obeyed=(Obeyed("abort", value, "fp-b", NOW),))
    refusal = decide(memory, asked, HERE)
    assert isinstance(refusal, Refusal)
    assert refusal.message.endswith(f"agui.dev/abort={another}")


def test_what_was_refused_is_not_obeyed_and_the_list_is_bounded() -> None:
    memory, asked = HELD, Request(RequestKind.RETRY, "true")
    assert remember(memory, asked, Refusal("no"), HERE, NOW) == ()
    for number in range(40):
        asked = Request(RequestKind.PROMOTE, str(number + 1))
        memory = replace(memory, obeyed=remember(memory, asked, Event.STEP_PASSED, HERE, NOW))
    assert len(memory.obeyed) == 20
    assert memory.obeyed[0].value == "40"


def test_all_requests_are_read_in_the_order_of_their_urgency() -> None:
    asked = {requests.ANNOTATIONS[kind]: "true" for kind in RequestKind}
    assert [r.kind for r in parse(asked)][:3] == [RequestKind.ABORT, RequestKind.UNDO, RequestKind.PAUSE]
    assert len(parse(asked)) == len(RequestKind)


def test_a_misspelt_annotation_is_named_with_what_was_meant() -> None:
    found = misspelt(
        {"agui.dev/promot": "true", "agui.dev/zzz": "", PROMOTE: "x", "agui.dev/abandon": "true", "o/a": ""}
    )
    assert list(found) == ["agui.dev/promot", "agui.dev/zzz"]
    assert "did you mean agui.dev/promote?" in found["agui.dev/promot"]
    assert "did you mean" not in found["agui.dev/zzz"]
    assert "agui.dev/abort" in found["agui.dev/zzz"]


# --- which annotations a manifest has ---------------------------------------------------------------------------------


def meta(operation: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    owned = {"f:metadata": {"f:annotations": {".": {}, f"f:{PROMOTE}": {}}}} | fields
    entry = {"manager": "m", "operation": operation, "fieldsV1": owned} | more
    return {"annotations": {PROMOTE: "true", "other": "x"}, "managedFields": [entry]}


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        pytest.param(meta("Apply", {}), True, id="server-side apply"),
        pytest.param(meta("Update", {"f:spec": {"f:version": {}}}), True, id="a client that writes the spec too"),
        pytest.param(meta("Update", {}), False, id="kubectl annotate"),
        pytest.param(meta("Apply", {}, subresource="status"), False, id="not of the status"),
        pytest.param({"annotations": {PROMOTE: "true"}}, False, id="nothing is known"),
        pytest.param({"annotations": {PROMOTE: "true"}, "managedFields": "x"}, False, id="damaged"),
        pytest.param({"annotations": {PROMOTE: "true"}, "managedFields": ["x", {"fieldsV1": 3}]}, False, id="worse"),
        pytest.param(meta("Apply", {}) | {"annotations": {"other": "x"}}, False, id="it is gone"),
        pytest.param({}, False, id="no annotations"),
    ],
)
def test_who_wrote_an_annotation_tells_whether_it_comes_back(found: dict[str, Any], kept: bool) -> None:
    assert kept_annotations(found, "agui.dev/") == ({PROMOTE} if kept else set())


@pytest.mark.parametrize(
    ("applied", "kept"),
    [
        (json.dumps({"metadata": {"annotations": {PROMOTE: "true"}}}), True),
        (json.dumps({"metadata": {"annotations": None}}), False),
        (json.dumps([1]), False),
        ("{", False),
        ("[" * 100_000, False),
        (7, False),
    ],
)
def test_kubectl_apply_keeps_the_manifest_in_an_annotation(applied: Any, kept: bool) -> None:
    annotations = {PROMOTE: "true", "kubectl.kubernetes.io/last-applied-configuration": applied}
    assert (PROMOTE in kept_annotations({"annotations": annotations}, "agui.dev/")) is kept

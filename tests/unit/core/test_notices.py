"""Each reason has one Event, when it appears."""

from __future__ import annotations

from typing import Any

import pytest

from agui_operator.core.notices import Notice, notices


def status(reason: str, message: str = "m", phase: str = "Pending", **more: Any) -> dict[str, Any]:
    return {"phase": phase, "conditions": [{"type": "Ready", "reason": reason, "message": message}], **more}


@pytest.mark.parametrize("reason", ["InvalidSpec", "NotPermitted", "NotFound", "BundleRefused", "EnvironmentNotReady"])
def test_what_stands_in_the_way_is_told_once(reason: str) -> None:
    after = status(reason)
    assert notices({}, after) == (Notice("Warning", reason, "m"),)
    assert notices(after, after) == ()
    assert notices(after, status(reason, "another field")) == (Notice("Warning", reason, "another field"),)
    assert notices(after, status("Healthy")) == ()


def test_a_freeze_is_no_warning_and_what_has_an_event_of_its_own_is_not_told_twice() -> None:
    assert notices({}, status("Frozen"))[0].kind == "Normal"
    assert notices({}, status("Suspended", phase="Suspended")) == ()
    assert notices({}, status("NotPermitted", phase="RolledBack")) == ()
    assert notices({}, status("CloudUnavailable")) == (), "it passes by itself"


def test_ignored_fields_are_told_once() -> None:
    def after(reason: str) -> dict[str, Any]:
        return {"conditions": [{"type": "SpecAccepted", "reason": reason, "message": "Ignored: spec.x"}]}

    assert notices({}, after("UnknownFields")) == (Notice("Warning", "UnknownFields", "Ignored: spec.x"),)
    assert notices(after("UnknownFields"), after("UnknownFields")) == ()
    assert notices({}, after("Accepted")) == ()

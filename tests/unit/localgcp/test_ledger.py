"""The ledger: append-only, numbered without gaps, and readable after a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from localgcp.kit.call import Call, caller_of
from localgcp.kit.ledger import Ledger, matches

Opener = Callable[..., Ledger]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens ledgers on one file, as runs of localgcp do one after the other."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(Ledger(tmp_path / "l.jsonl", **options)))


def fill(ledger: Ledger) -> None:
    call = Call("google.cloud.run.v2.Services", "UpdateService", {}, ledger, "test")
    call.effect("update", "services/a", "generation 2")
    ledger.call(call, resource="services/a", code="OK", began=1.0, seconds=0.5, write=True)
    read = Call("google.cloud.run.v2.Services", "GetService", {}, ledger)
    ledger.call(read, resource="services/b", code="NOT_FOUND", began=2.0, seconds=0.1, write=False)


def test_queries(opened: Opener) -> None:
    ledger = opened()
    fill(ledger)
    assert [entry["seq"] for entry in ledger.query()] == [1, 2, 3]
    assert [entry["kind"] for entry in ledger.query(1)] == ["call", "call"]
    assert [entry["effect"] for entry in ledger.query(kind="effect")] == ["update"]
    assert [entry["method"] for entry in ledger.query(method="Services.Get*")] == ["GetService"]
    assert [entry["seq"] for entry in ledger.query(resource="/a")] == [1, 2]
    assert [entry["seq"] for entry in ledger.query(write=True)] == [2]
    assert [entry["seq"] for entry in ledger.query(limit=1)] == [3]
    effect, call = ledger.query(resource="/a")
    assert effect["request_id"] == call["request_id"]
    assert call["ms"] == 500


def test_numbers_go_on_after_a_crash(tmp_path: Path, opened: Opener) -> None:
    path = tmp_path / "l.jsonl"
    fill(opened())
    with path.open("a") as torn:
        torn.write('{"seq": 4, "kind": "ca')
    again = opened()
    assert again.last == 3
    fill(again)
    assert again.last == 6
    assert [entry["seq"] for entry in opened().query()] == [1, 2, 3, 4, 5, 6]


def test_memory_is_bounded_and_the_file_is_not(tmp_path: Path, opened: Opener) -> None:
    ledger = opened(keep=2)
    fill(ledger)
    assert [entry["seq"] for entry in ledger.query()] == [2, 3]
    assert [json.loads(line)["seq"] for line in (tmp_path / "l.jsonl").read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("glob", "matched"),
    [
        ("UpdateService", True),
        ("Services.UpdateService", True),
        ("Services.*", True),
        ("google.cloud.run.v2.*", True),
        ("*", True),
        ("Service", False),
        ("Jobs.*", False),
    ],
)
def test_globs(glob: str, matched: bool) -> None:
    assert matches(glob, "google.cloud.run.v2.Services", "UpdateService") is matched


def test_globs_of_rest_only_methods() -> None:
    assert matches("storage.objects.*", "storage", "storage.objects.insert")
    assert matches("storage.objects.insert", "storage", "storage.objects.insert")
    assert not matches("storage.buckets.*", "storage", "storage.objects.insert")


def test_caller() -> None:
    assert caller_of({"user-agent": "agui/1", "x-goog-api-client": "gapic/0.16"}) == "agui/1 gapic/0.16"
    assert caller_of({}) == ""

"""The durable store: what was put is there after a crash, and nobody changes a record by accident."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from google.protobuf import struct_pb2

from localgcp.kit.store import Store, etag_of

Opener = Callable[[], Store]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens stores on one file, as runs of localgcp do one after the other."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Store(tmp_path / "s.sqlite3")))


def test_records_survive_without_a_clean_end(opened: Opener) -> None:
    first = opened()
    first.json("things").put("a", {"n": 1})
    first.json("things").put("a", {"n": 2})
    first.json("things").put("b", {"n": 3})
    first.json("things").delete("b")
    second = opened()  # the first was never closed
    assert second.json("things").get("a") == {"n": 2}
    assert second.json("things").version("a") == 2
    assert second.json("things").get("b") is None


def test_values_are_copies(opened: Opener) -> None:
    table = opened().json("things")
    value = {"list": [1]}
    table.put("a", value)
    value["list"].append(2)
    read = table.get("a")
    assert read == {"list": [1]}
    read["list"].append(3)
    assert table.get("a") == {"list": [1]}


def test_messages_by_prefix(opened: Opener) -> None:
    table = opened().protos("messages", struct_pb2.Value)
    for key in ("x/2", "x/1", "y/1"):
        table.put(key, struct_pb2.Value(string_value=key))
    assert [message.string_value for message in table.values("x/")] == ["x/1", "x/2"]
    assert table.version("x/1") == 1
    assert table.version("none") == 0
    assert table.delete("x/1")
    assert not table.delete("x/1")


def test_clear_empties_the_file_too(opened: Opener) -> None:
    store = opened()
    store.json("things").put("a", {})
    store.clear()
    assert store.json("things").values() == []
    assert opened().json("things").values() == []


def test_a_closed_store_refuses_writes(opened: Opener) -> None:
    store = opened()
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.put("c", "k", b"v")
    assert store.get("c", "k") is None


def test_etags_tell_parts_apart() -> None:
    assert etag_of("a", "bc") != etag_of("ab", "c")
    assert etag_of("a", 1) == etag_of("a", 1)

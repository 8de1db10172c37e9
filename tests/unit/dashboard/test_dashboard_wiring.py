"""How the dashboard is asked for, fed by the engine, and told what the process may do."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agui_operator.core.analysis import Limit, Sample, Window
from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import Presence
from agui_operator.dashboard.rows import row_of
from agui_operator.engine.cluster.feed import SILENT
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.check_runner import CheckRunner
from agui_operator.engine.deployment.execute import Executor
from agui_operator.engine.deployment.observe import Observer
from agui_operator.engine.deployment.reconcile import Engine
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.settings import SettingInvalid, from_environment
from agui_operator.handlers.health import Health
from agui_operator.handlers.serve import _presence
from dashboard_objects import NOW, body, status
from engine_fakes import Bench, FakeKube

UID = "uid-demo-shop"


def test_it_is_off_unless_a_port_is_named_and_then_on_the_loopback() -> None:
    assert from_environment({}).dashboard_port is None
    assert from_environment({"AGUI_DASHBOARD_PORT": ""}).dashboard_port is None
    asked = from_environment({"AGUI_DASHBOARD_PORT": "0"})
    assert (asked.dashboard_port, asked.dashboard_host, asked.dashboard_names) == (0, "127.0.0.1", ())
    named = {"AGUI_DASHBOARD_PORT": "8081", "AGUI_DASHBOARD_HOST": "::", "AGUI_DASHBOARD_NAMES": "Rollouts.Example, b"}
    asked = from_environment(named)
    assert (asked.dashboard_port, asked.dashboard_host) == (8081, "::")
    assert asked.dashboard_names == ("rollouts.example", "b")


@pytest.mark.parametrize("port", ["70000", "-1", "eighty"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SettingInvalid, match="AGUI_DASHBOARD_PORT"):
        from_environment({"AGUI_DASHBOARD_PORT": port})


async def test_what_becomes_an_event_becomes_a_line() -> None:
    board = Board()
    board.seen(body())
    recorder = Recorder(FakeKube().as_kube(), lambda: NOW, board)
    recorder.post("demo", "shop", UID, "Warning", "RollingBack", "it failed")
    found = board.find("demo", "shop")
    assert found is not None
    assert [(line.at, line.kind, line.reason, line.message) for line in found.lines] == [
        (NOW, "Warning", "RollingBack", "it failed")
    ]


@pytest.mark.parametrize(
    ("ready", "lease", "presence"),
    [
        (False, None, Presence.STANDBY),
        (True, None, Presence.ACTIVE),
        (True, True, Presence.ACTIVE),
        (True, False, Presence.ADRIFT),
    ],
)
def test_the_process_says_what_it_may_do(ready: bool, lease: bool | None, presence: Presence) -> None:
    health: Any = Health("127.0.0.1", 0, require_lease=lease is not None)
    health.ready = ready
    health.lease = None if lease is None else SimpleNamespace(held=lease)
    assert _presence(health) is presence


def test_without_a_dashboard_nobody_listens() -> None:
    SILENT.seen(body())
    SILENT.status_written("demo", "shop", UID, status("Healthy"))
    SILENT.measured(UID, "r", NOW, Window(Sample(), None, 1, (Limit("error-rate", max=1),)))
    SILENT.noted(UID, NOW, "Normal", "r", "m")
    SILENT.gone(UID)
    assert not hasattr(SILENT, "__dict__") or vars(SILENT) == {}


async def test_every_status_that_was_written_is_told_as_it_was_written() -> None:
    told: list[tuple[str, str, str]] = []

    class Told(Board):
        def status_written(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
            super().status_written(namespace, name, uid, status)
            told.append((namespace, name, str(bench.kube.status["phase"])))

    bench, board = Bench(), Told()
    board.seen(bench.kube.body)
    bench.engine = Engine(
        settings=bench.settings,
        observer=cast(Observer, bench.cloud),
        checks=cast(CheckRunner, bench.cloud),
        executor=cast(Executor, bench.cloud),
        directory=bench.directory,
        recorder=Recorder(bench.kube.as_kube(), bench.clock, board),
        reporter=Reporter(bench.kube.as_kube(), board),
        clock=bench.clock,
    )
    assert await bench.settle() == "Healthy"
    (entry,) = board.entries
    assert len(told) == sum(line.startswith("status") for line in bench.kube.log)
    assert told[-1][2] == row_of(entry).phase == "Healthy", "told when the API server has it"
    assert entry.lines[0].reason == "Healthy"

"""The small parts beside the loop: what wakes it, what it keeps in its cache, its settings and its log."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from types import MappingProxyType
from typing import Any

import pytest

from agui_operator.core.actions import Pointer
from agui_operator.core.snapshot import BackupView, JobView
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.views import ASSETS, BACKUP, SERVICE, Views, of_job
from agui_operator.engine.log import JsonFormatter, configure
from agui_operator.engine.settings import SettingInvalid, Settings, from_environment
from agui_operator.engine.tasks import Tasks

# --- wakeups ---------------------------------------------------------------------------------------------------------


async def test_a_ring_before_anybody_waits_is_not_lost_and_counts_once() -> None:
    wakeups = Wakeups()
    wakeups.wake("a")
    wakeups.wake("a")
    assert await wakeups.wait("a", 1) is True
    assert await wakeups.wait("a", 0.01) is False


async def test_a_ring_wakes_its_own_object_and_no_other() -> None:
    wakeups = Wakeups()
    one, other = asyncio.create_task(wakeups.wait("a", 5)), asyncio.create_task(wakeups.wait("b", 0.05))
    await asyncio.sleep(0)
    wakeups.wake("a")
    assert await one is True
    assert await other is False


async def test_those_that_depend_on_a_change_are_rung_and_no_others() -> None:
    wakeups = Wakeups()
    waits = [asyncio.create_task(wakeups.wait(uid, 0.1)) for uid in "abc"]
    await asyncio.sleep(0)
    wakeups.wake_each(["a", "c"])
    assert await asyncio.gather(*waits) == [True, False, True]


async def test_the_same_wish_rings_once_until_it_changes_or_the_object_is_made_again() -> None:
    wakeups = Wakeups()
    heard = []
    for wish in [(1, ()), (1, ()), (2, ()), (1, ())]:
        wakeups.wake("a", wish)
        heard.append(await wakeups.wait("a", 0.01))
    assert heard == [True, False, True, True]
    wakeups.forget("a")
    wakeups.wake("a", (1, ()))
    assert await wakeups.wait("a", 0.01) is True


async def test_without_a_timeout_it_waits_for_as_long_as_it_takes() -> None:
    wakeups = Wakeups()
    waiting = asyncio.create_task(wakeups.wait("a", None))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    wakeups.wake("a")
    assert await waiting is True


# --- tasks and views --------------------------------------------------------------------------------------------------


async def done() -> None:
    return None


async def test_work_is_started_once_per_key_and_leaves_when_it_ends() -> None:
    tasks = Tasks()
    gate = asyncio.Event()
    runs: list[str] = []

    async def work(name: str) -> None:
        runs.append(name)
        await gate.wait()

    tasks.start(("r", "candidate", "a"), work("first"))
    tasks.start(("r", "candidate", "a"), work("second"))
    await asyncio.sleep(0)
    assert runs == ["first"]
    gate.set()
    await tasks.wait()
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_work_that_ended_does_not_take_its_successor_along() -> None:
    """A waiter leaves before it rings; by the time its task is over, the key may be another's."""
    cache = ObjectCache("uid")
    gate = asyncio.Event()

    async def successor() -> None:
        await gate.wait()

    async def waiter() -> None:
        cache.operations.leave(SERVICE)
        cache.operations.start(SERVICE, successor())

    cache.operations.start(SERVICE, waiter())
    for _ in range(3):
        await asyncio.sleep(0)
    assert cache.is_known(SERVICE), "the operation in progress was forgotten"
    gate.set()
    await cache.operations.wait()


async def test_one_key_is_cancelled_and_the_others_go_on() -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    for name in "ab":
        tasks.start(name, work(name))
    await asyncio.sleep(0)
    tasks.cancel("a")
    await asyncio.sleep(0)
    assert ended == ["a"]
    tasks.cancel()
    await asyncio.sleep(0)
    assert ended == ["a", "b"]


async def test_a_view_is_known_while_it_is_fresh_or_about_to_change() -> None:
    cache = ObjectCache("uid")
    assert not cache.is_known(SERVICE)
    cache.views.mark_fresh(SERVICE)
    assert cache.is_known(SERVICE)
    cache.views.mark_stale(SERVICE)
    assert not cache.is_known(SERVICE)
    cache.operations.start(SERVICE, done())
    assert cache.is_known(SERVICE)
    await cache.operations.wait()


def test_a_new_rollout_finds_nothing_of_the_last_one() -> None:
    views = Views(backup=BackupView("b", True), assets=True, pointer=Pointer("f", "r"), fresh_release="r")
    views.put_job("j", JobView("j", "image", True))
    views.fresh |= {BACKUP, ASSETS, SERVICE, of_job("j")}
    views.begin_rollout()
    assert (views.backup, views.assets, views.fresh_release, views.jobs) == (None, None, None, {})
    assert views.fresh == {SERVICE}, "the service and the pointer are the deployment's, not the release's"
    assert views.pointer is not None


def test_at_rest_no_job_is_kept() -> None:
    views = Views()
    views.put_job("j", JobView("j", "image", True))
    views.fresh |= {SERVICE, of_job("j")}
    views.end_rollout()
    assert (views.jobs, views.fresh) == ({}, {SERVICE})


def test_what_a_new_release_can_not_have_is_not_looked_up() -> None:
    cache = ObjectCache("uid")
    cache.views.begin_release("r1", published=True)
    assert not cache.is_known(ASSETS), "the files of an earlier release with the same bundle may be there"
    cache.views.begin_release("r1", published=False)
    assert not cache.is_known(BACKUP), "an attempt whose status was lost may have taken it"
    assert cache.is_known(ASSETS)
    assert (cache.views.backup, cache.views.assets, cache.views.fresh_release) == (None, False, "r1")
    cache.views.invalidate()
    assert not cache.is_known(BACKUP)
    assert cache.views.fresh_release is None


def test_the_status_is_kept_packed_and_comes_back_whole() -> None:
    cache = ObjectCache("uid")
    assert cache.status == {}
    status = {"phase": "Healthy", "conditions": [{"type": "Ready", "message": "x" * 500}], "history": []}
    cache.load({"status": MappingProxyType(status)})
    assert cache.status == status
    packed = [value for name in cache.__slots__ if isinstance(value := getattr(cache, name), bytes)]
    assert sum(map(len, packed)) < 200, "a second copy of each status costs a fleet its memory"


# --- settings --------------------------------------------------------------------------------------------------------


def test_without_variables_it_is_real_google_cloud_with_a_lease() -> None:
    settings = from_environment({})
    assert settings == Settings()
    assert (settings.endpoint, settings.local, settings.require_lease) == (None, False, True)


def test_every_variable_is_read() -> None:
    settings = from_environment(
        {
            "AGUI_GCP_ENDPOINT": "http://127.0.0.1:8085/",
            "AGUI_RESYNC_SECONDS": "2.5",
            "AGUI_CONCURRENT_TURNS": "7",
            "AGUI_LEASE_NAME": "l",
            "AGUI_LEASE_NAMESPACE": "n",
            "AGUI_LEASE_SECONDS": "4",
            "AGUI_LEASE_HOLDER": "me",
            "AGUI_REQUIRE_LEASE": "False",
            "AGUI_HTTP_HOST": "127.0.0.2",
            "AGUI_HTTP_PORT": "0",
            "AGUI_NAMESPACES": "a, b,",
        }
    )
    assert settings == Settings(
        endpoint="http://127.0.0.1:8085",
        resync=2.5,
        concurrent_turns=7,
        lease_name="l",
        lease_namespace="n",
        lease_seconds=4,
        identity="me",
        require_lease=False,
        http_host="127.0.0.2",
        http_port=0,
        namespaces=("a", "b"),
    )
    assert settings.local


def test_the_process_environment_is_the_default_and_the_pod_s_name_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGUI_LEASE_HOLDER", "")
    monkeypatch.setenv("HOSTNAME", "pod-1")
    assert from_environment().identity == "pod-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGUI_GCP_ENDPOINT", "https://run.googleapis.com"),
        ("AGUI_GCP_ENDPOINT", "http://localhost"),
        ("AGUI_RESYNC_SECONDS", "soon"),
        ("AGUI_RESYNC_SECONDS", "0"),
        ("AGUI_RESYNC_SECONDS", "nan"),
        ("AGUI_LEASE_SECONDS", "-1"),
        ("AGUI_LEASE_SECONDS", "inf"),
        ("AGUI_HTTP_PORT", "inf"),
        ("AGUI_HTTP_PORT", "70000"),
        ("AGUI_HTTP_PORT", "-1"),
        ("AGUI_REQUIRE_LEASE", "maybe"),
        ("AGUI_CONCURRENT_TURNS", "0"),
        ("AGUI_NAMESPACES", "team-*"),
    ],
)
def test_a_setting_that_can_not_be_used_is_refused_by_name_and_value(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        from_environment({name: value})
    assert name in str(refused.value)
    assert repr(value) in str(refused.value)


# --- log -------------------------------------------------------------------------------------------------------------


def logged(level: int = logging.INFO, extra: dict[str, Any] | None = None, exc_info: Any = None) -> dict[str, Any]:
    record = logging.getLogger("agui_operator.x").makeRecord(
        "agui_operator.x", level, __file__, 1, "hello %s", ("you",), exc_info, extra=extra
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line, "one object per line"
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_is_what_cloud_logging_reads() -> None:
    entry = logged(logging.WARNING)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {"severity": "WARNING", "message": "hello you", "logger": "agui_operator.x"}


def test_what_is_given_beside_the_message_is_a_field_and_kopf_s_own_is_the_object() -> None:
    reference = {"namespace": "demo", "name": "concierge", "uid": "u"}
    entry = logged(extra={"phase": "Smoking", "odd": object, "k8s_ref": reference, "settings": 1})
    assert (entry["object"], entry["phase"]) == ("demo/concierge", "Smoking")
    assert "class" in entry["odd"]
    assert not {"k8s_ref", "settings", "args", "levelno"} & set(entry)


def test_a_traceback_is_part_of_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        entry = logged(exc_info=sys.exc_info())
    assert "ValueError: broken" in entry["exception"]


@pytest.fixture
def root() -> Any:
    """The root logger as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:], logger.level = handlers, level


@pytest.mark.parametrize("human", [True, False])
def test_logs_go_to_standard_error(root: logging.Logger, human: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", human=human)
    logging.getLogger("agui_operator").debug("a line")
    logging.getLogger("aiohttp.access").info("noise")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a line" in captured.err
    assert "noise" not in captured.err
    assert captured.err.startswith("{") is not human
    assert root.level == logging.DEBUG

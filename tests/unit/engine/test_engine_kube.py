"""The engine's own calls to the API server: what is tried again, what is no error, and what may not be sent at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agui_operator.core.errors import LeaseLost
from agui_operator.engine.cluster import kube as kube_module
from agui_operator.engine.cluster.kube import Connection, Kube, KubeError, clients
from agui_operator.engine.cluster.lease import Lease


@dataclass
class ApiServer:
    """Answers each request with the next of `answers` (status, body), the last one for ever. `None` hangs up."""

    answers: list[tuple[int, Any] | None] = field(default_factory=lambda: [(200, {})])
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    lease: Any = None  # answers requests for leases, at once
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        self.headers.append(request.headers)
        if self.lease is not None and "/leases" in request.path:
            return web.json_response(self.lease)
        await asyncio.sleep(self.delay)
        due = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if due is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = due
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status, headers=self.answer_headers)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    fake = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    pauses = asyncio.sleep

    async def short(seconds: float) -> None:
        await pauses(seconds / 100)

    monkeypatch.setattr(kube_module.asyncio, "sleep", short)
    client = Kube(Connection(f"{server.url}/", {"Authorization": "Bearer t"}, None))
    yield client
    await client.close()


async def test_a_request_carries_the_login_and_its_body(server: ApiServer, kube: Kube) -> None:
    server.answers = [(200, {"kind": "Status"})]
    assert await kube.request("POST", "/x", {"a": 1}) == {"kind": "Status"}
    assert (server.asked, server.bodies) == ([("POST", "/x")], [{"a": 1}])
    assert server.headers[0]["Authorization"] == "Bearer t"


@pytest.mark.parametrize("trouble", [(429, {}), (500, {}), (503, "upstream"), None], ids=str)
async def test_what_passes_by_itself_is_tried_three_times(server: ApiServer, kube: Kube, trouble: Any) -> None:
    server.answers = [trouble, trouble, (200, {"ok": True})]
    assert await kube.request("GET", "/x") == {"ok": True}
    assert len(server.asked) == 3


async def test_the_fourth_time_it_is_told(server: ApiServer, kube: Kube) -> None:
    server.answers = [(503, {"message": "overloaded"})]
    with pytest.raises(KubeError, match="503: overloaded") as refused:
        await kube.request("GET", "/x")
    assert (refused.value.code, len(server.asked)) == (503, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_final(server: ApiServer, kube: Kube, status: int) -> None:
    server.answers = [(status, {"message": "no"})]
    with pytest.raises(KubeError) as refused:
        await kube.request("PATCH", "/x", {})
    assert (refused.value.code, len(server.asked)) == (status, 1)


async def test_a_server_that_is_not_there_is_a_connection_error(kube: Kube, server: ApiServer) -> None:
    server.answers = [None]
    with pytest.raises(ConnectionError, match="can't be reached"):
        await kube.request("GET", "/x")
    assert await kube.reachable() is False
    server.answers = [(403, {})]
    assert await kube.reachable() is False
    server.answers = [(200, {"major": "1"})]
    assert await kube.reachable() is True


async def test_without_the_lease_only_reads_are_sent(kube: Kube, server: ApiServer) -> None:
    def refuse() -> None:
        raise LeaseLost("gone")

    kube.before_write = refuse
    with pytest.raises(LeaseLost):
        await kube.patch_status("ns", "n", "uid", {})
    assert server.asked == []
    await kube.get_deployment("ns", "n")
    await kube.put_lease("ns", "l", {}, create=True)
    assert [method for method, _ in server.asked] == ["GET", "POST"], "the lease itself can be taken again"
    assert kube.writes == 0


DEPLOYMENT = "/apis/agui.dev/v1alpha1/namespaces/ns/aguideployments/n"


async def test_a_status_is_patched_for_one_uid_only(kube: Kube, server: ApiServer) -> None:
    await kube.patch_status("ns", "n", "uid-1", {"phase": "Pending"})
    assert server.asked == [("PATCH", f"{DEPLOYMENT}/status")]
    assert server.bodies == [{"metadata": {"uid": "uid-1"}, "status": {"phase": "Pending"}}]
    assert server.headers[0]["Content-Type"] == "application/merge-patch+json"
    assert kube.writes == 1


@pytest.mark.parametrize("status", [404, 409])
async def test_an_object_that_is_gone_or_another_by_now_needs_no_status(
    kube: Kube, server: ApiServer, status: int
) -> None:
    server.answers = [(status, {})]
    await kube.patch_status("ns", "n", "uid-1", {})


async def test_a_status_that_is_refused_is_told(kube: Kube, server: ApiServer) -> None:
    server.answers = [(422, {"message": "Invalid value"})]
    with pytest.raises(KubeError, match="Invalid value"):
        await kube.patch_status("ns", "n", "uid-1", {})


async def test_an_annotation_is_removed_with_its_value_and_the_version_without_it_comes_back(
    kube: Kube, server: ApiServer
) -> None:
    server.answers = [(200, {"metadata": {"resourceVersion": "77"}})]
    assert await kube.remove_annotation("ns", "n", "agui.dev/abort", "true") == "77"
    assert server.asked == [("PATCH", DEPLOYMENT)]
    path = "/metadata/annotations/agui.dev~1abort"
    assert server.bodies == [[{"op": "test", "path": path, "value": "true"}, {"op": "remove", "path": path}]]
    server.answers = [(404, {})]
    assert await kube.remove_annotation("ns", "n", "agui.dev/abort", "true") is None
    server.answers = [(403, {"message": "no"})]
    with pytest.raises(KubeError):
        await kube.remove_annotation("ns", "n", "agui.dev/abort", "true")


async def test_an_annotation_that_was_set_anew_stays(kube: Kube, server: ApiServer) -> None:
    server.answers = [(422, {"message": "test failed"}), (200, {"metadata": {"resourceVersion": "78"}})]
    assert await kube.remove_annotation("ns", "n", "agui.dev/abort", "true") == "78"
    assert [method for method, _ in server.asked] == ["PATCH", "GET"]
    server.answers = [(422, {"message": "test failed"}), (404, {})]
    assert await kube.remove_annotation("ns", "n", "agui.dev/abort", "true") is None


async def test_what_is_not_there_is_none(kube: Kube, server: ApiServer) -> None:
    server.answers = [(404, {})]
    assert await kube.get_deployment("ns", "n") is None
    assert await kube.get_lease("ns", "l") is None
    server.answers = [(403, {})]
    with pytest.raises(KubeError):
        await kube.get_lease("ns", "l")


async def test_a_busy_server_is_asked_again_when_it_says_so(
    server: ApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def noted(seconds: float) -> None:
        slept.extend([seconds] if seconds else [])  # the server's own pause is none

    monkeypatch.setattr(kube_module.asyncio, "sleep", noted)
    server.answers = [(429, {}), (200, {})]
    server.answer_headers = {"Retry-After": "3"}
    await kube.request("GET", "/x")
    assert len(slept) == 1
    assert 3 <= slept[0] <= 4
    server.answers, server.asked = [(429, {"message": "later"})], []
    server.answer_headers = {"Retry-After": "60"}
    with pytest.raises(KubeError) as refused:
        await kube.request("GET", "/x")
    assert (refused.value.retry_after, len(server.asked)) == (60, 1), "the turn waits, not the connection"


async def test_a_page_of_a_proxy_is_a_refusal_with_its_beginning(server: ApiServer, kube: Kube) -> None:
    server.answers = [(404, "<html>nothing here" + "." * 500)]
    with pytest.raises(KubeError, match="404: <html>nothing here") as refused:
        await kube.request("GET", "/x")
    assert len(str(refused.value)) < 300


async def test_waiting_for_a_connection_is_no_time_out(server: ApiServer) -> None:
    """80 writes of 0.1 s over 2 connections take 4 s; each of them has 0.5 s."""
    server.delay = 0.1
    kube = Kube(Connection(server.url, {}, None), connections=2, timeout=0.5)
    try:
        await asyncio.gather(*(kube.patch_status("ns", f"n{n}", "uid", {}) for n in range(80)))
    finally:
        await kube.close()
    assert len(server.asked) == 80


async def test_a_write_that_waited_for_a_connection_asks_again_whether_it_may(server: ApiServer) -> None:
    server.delay = 0.05
    kube = Kube(Connection(server.url, {}, None), connections=1)
    lost = False

    def may() -> None:
        if lost:
            raise LeaseLost("gone")

    kube.before_write = may
    writes = [asyncio.create_task(kube.patch_status("ns", f"n{n}", "uid", {})) for n in range(5)]
    await asyncio.sleep(0.02)
    lost = True
    results = await asyncio.gather(*writes, return_exceptions=True)
    await kube.close()
    assert [type(r) for r in results] == [str] + [LeaseLost] * 4
    assert len(server.asked) == 1


async def test_the_lease_is_held_while_a_thousand_status_writes_queue(server: ApiServer) -> None:
    """A lease of 3 s beside 6 s of writes: the control client has connections of its own."""
    server.delay = 0.12
    server.lease = {"metadata": {"resourceVersion": "1"}, "spec": {}}
    bulk, control = clients(Connection(server.url, {}, None), lease_seconds=3.0)
    ended: list[bool] = []
    lease = Lease(control, "ns", "op", "one", 3.0, lambda: ended.append(True))
    await lease.acquire()
    writes = asyncio.gather(*(bulk.patch_status("ns", f"n{n}", "uid", {}) for n in range(1000)))
    held = []
    while not writes.done():
        held.append(lease.held)
        await asyncio.sleep(0.02)
    await writes
    await lease.release()
    await bulk.close()
    await control.close()
    assert len(held) > 50
    assert all(held)
    assert not ended


async def test_a_lease_is_written_once(kube: Kube, server: ApiServer) -> None:
    """Trying again would hide that another was faster, or hold the fence up."""
    server.answers = [(503, {})]
    with pytest.raises(KubeError):
        await kube.put_lease("ns", "l", {"metadata": {"resourceVersion": "3"}}, create=False)
    assert server.asked == [("PUT", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l")]


async def test_events_are_posted_to_their_namespace(kube: Kube, server: ApiServer) -> None:
    await kube.post_event("ns", {"reason": "Healthy"})
    assert server.asked == [("POST", "/api/v1/namespaces/ns/events")]

"""Cloud Monitoring through Google's own gRPC client, and the same over REST."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core import exceptions
from google.cloud import monitoring_v3 as monitoring
from google.cloud.monitoring_v3.services.alert_policy_service.transports import AlertPolicyServiceGrpcAsyncIOTransport
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport
from google.cloud.monitoring_v3.services.notification_channel_service.transports import (
    NotificationChannelServiceGrpcAsyncIOTransport,
)
from google.protobuf import duration_pb2

from localgcp.kit.interfaces import METRICS
from localgcp.server.server import Server
from localgcp.services.monitoring import SERVICE
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
PROJECT = "projects/demo"
SERVICES = (SERVICE,)
COUNT = 'metric.type="run.googleapis.com/request_count" AND resource.type="cloud_run_revision"'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with localgcp_thread(tmp_path, SERVICES, metric_period_seconds=0.05) as running:
        yield running


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.cloud.settings.endpoint.removeprefix("http://")) as made:
        yield made


@pytest.fixture
def metrics(channel: grpc.aio.Channel) -> monitoring.MetricServiceAsyncClient:
    return monitoring.MetricServiceAsyncClient(transport=MetricServiceGrpcAsyncIOTransport(channel=channel))


@pytest.fixture
def policies(channel: grpc.aio.Channel) -> monitoring.AlertPolicyServiceAsyncClient:
    return monitoring.AlertPolicyServiceAsyncClient(transport=AlertPolicyServiceGrpcAsyncIOTransport(channel=channel))


@pytest.fixture
def channels(channel: grpc.aio.Channel) -> monitoring.NotificationChannelServiceAsyncClient:
    transport = NotificationChannelServiceGrpcAsyncIOTransport(channel=channel)
    return monitoring.NotificationChannelServiceAsyncClient(transport=transport)


def serve(server: Server, revision: str, code: int, seconds: float, times: int) -> None:
    for _ in range(times):
        server.cloud.part(METRICS).request(
            project="demo", location="us-central1", service="web", revision=revision, code=code, seconds=seconds
        )


def query(text: str, **aggregation: Any) -> dict[str, Any]:
    now = time.time()
    interval = monitoring.TimeInterval(
        start_time={"seconds": int(now) - 120}, end_time={"seconds": int(now), "nanos": int(now % 1 * 1e9)}
    )
    asked: dict[str, Any] = {"name": PROJECT, "filter": text, "interval": interval, "view": 0}
    if aggregation:
        aggregation.setdefault("alignment_period", duration_pb2.Duration(seconds=120))
        asked["aggregation"] = aggregation
    return asked


async def test_a_canary_can_be_judged(server: Server, metrics: monitoring.MetricServiceAsyncClient) -> None:
    """The queries of a canary analysis: error share and p95 by revision."""
    serve(server, "web-1", 200, 0.010, 90)
    serve(server, "web-2", 200, 0.400, 8)
    serve(server, "web-2", 503, 0.400, 2)
    await asyncio.sleep(0.12)  # until the sample period is over
    by_class = {
        "per_series_aligner": "ALIGN_DELTA",
        "cross_series_reducer": "REDUCE_SUM",
        "group_by_fields": ["resource.labels.revision_name", "metric.labels.response_code_class"],
    }
    found = await metrics.list_time_series(query(f'{COUNT} AND resource.labels.service_name="web"', **by_class))
    counts = {
        (s.resource.labels["revision_name"], s.metric.labels["response_code_class"]): sum(
            p.value.int64_value for p in s.points
        )
        async for s in found
    }
    assert counts == {("web-1", "2xx"): 90, ("web-2", "2xx"): 8, ("web-2", "5xx"): 2}
    p95 = {
        "per_series_aligner": "ALIGN_PERCENTILE_95",
        "cross_series_reducer": "REDUCE_MAX",
        "group_by_fields": ["resource.labels.revision_name"],
    }
    text = (
        COUNT.replace("request_count", "request_latencies") + ' resource.labels.revision_name=one_of("web-1","web-2")'
    )
    slow = {
        s.resource.labels["revision_name"]: s.points[0].value.double_value
        async for s in await metrics.list_time_series(query(text, **p95))
    }
    assert 7 < slow["web-1"] < 15
    assert 290 < slow["web-2"] < 560


async def test_raw_points_are_newest_first_and_paged(
    server: Server, metrics: monitoring.MetricServiceAsyncClient
) -> None:
    for _ in range(3):
        serve(server, "web-1", 200, 0.01, 1)
        await asyncio.sleep(0.06)
    serve(server, "web-2", 200, 0.01, 1)
    await asyncio.sleep(0.12)
    pages = [page async for page in (await metrics.list_time_series({**query(COUNT), "page_size": 3})).pages]
    assert [len(page.time_series) for page in pages] == [1, 1]
    (first,) = pages[0].time_series
    ends = [p.interval.end_time for p in first.points]
    assert ends == sorted(ends, reverse=True)
    assert sum(p.value.int64_value for p in first.points) == 3
    assert (first.metric_kind, first.value_type) == (
        MetricDescriptor.MetricKind.DELTA,
        MetricDescriptor.ValueType.INT64,
    )
    assert first.resource.labels["project_id"] == "demo"
    headers = await metrics.list_time_series({**query(COUNT), "view": 1})
    assert [len(s.points) async for s in headers] == [0, 0]


def gauge(value: float, *, when: float = 0.0, metric: str = "workload.googleapis.com/queue") -> monitoring.TimeSeries:
    end = time.time() + when
    series = monitoring.TimeSeries(metric={"type": metric, "labels": {"shard": "a"}}, resource={"type": "global"})
    stamp = {"seconds": int(end), "nanos": int(end % 1 * 1e9)}
    series.points = [{"interval": {"end_time": stamp}, "value": {"double_value": value}}]
    return series


async def test_custom_metrics_are_written_and_read(metrics: monitoring.MetricServiceAsyncClient) -> None:
    await metrics.create_time_series(name=PROJECT, time_series=[gauge(3.0, when=-2)])
    await metrics.create_time_series(name=PROJECT, time_series=[gauge(5.0, when=-1)])
    text = 'metric.type="workload.googleapis.com/queue"'
    (seen,) = [s async for s in await metrics.list_time_series(query(text))]
    assert [p.value.double_value for p in seen.points] == [5.0, 3.0]
    (mean,) = [s async for s in await metrics.list_time_series(query(text, per_series_aligner="ALIGN_MEAN"))]
    assert mean.points[0].value.double_value == 4.0
    descriptor = await metrics.get_metric_descriptor(name=f"{PROJECT}/metricDescriptors/workload.googleapis.com/queue")
    assert (descriptor.value_type, [label.key for label in descriptor.labels]) == (3, ["shard"])
    listed = await metrics.list_metric_descriptors(name=PROJECT)
    assert "run.googleapis.com/request_count" in [d.type async for d in listed]


async def test_bad_points_are_refused(metrics: monitoring.MetricServiceAsyncClient) -> None:
    await metrics.create_time_series(name=PROJECT, time_series=[gauge(1.0, when=-1)])
    wrong_type = gauge(1.0)
    wrong_type.points[0].value = {"int64_value": 1}
    unknown = gauge(1.0)
    unknown.resource = {"type": "toaster"}
    labels = gauge(1.0)
    labels.resource = {"type": "generic_task", "labels": {"job": "x"}}
    for series, message in (
        (gauge(1.0, when=-2), "written in order"),
        (gauge(1.0, metric="run.googleapis.com/request_count"), "no custom metric"),
        (gauge(1.0, when=900), "5 minutes"),
        (wrong_type, "was written"),
        (unknown, "toaster"),
        (labels, "has the labels"),
    ):
        with pytest.raises(exceptions.InvalidArgument, match=message):
            await metrics.create_time_series(name=PROJECT, time_series=[series])
    good = gauge(2.0)
    with pytest.raises(exceptions.InvalidArgument, match=r"timeSeries\[0\]"):
        await metrics.create_time_series(name=PROJECT, time_series=[unknown, good])
    found = await metrics.list_time_series(query('metric.type="workload.googleapis.com/queue"'))
    assert [[p.value.double_value for p in s.points] async for s in found] == [[2.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('resource.type="cloud_run_revision"', exceptions.InvalidArgument),
        ('metric.type="run.googleapis.com/no_such"', exceptions.NotFound),
        ("metric.type=", exceptions.InvalidArgument),
    ],
)
async def test_bad_queries_are_refused(
    metrics: monitoring.MetricServiceAsyncClient, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await metrics.list_time_series(query(text))


async def test_an_unknown_selector_is_refused_where_there_is_data(
    server: Server, metrics: monitoring.MetricServiceAsyncClient
) -> None:
    serve(server, "web-1", 200, 0.01, 1)
    await asyncio.sleep(0.12)
    with pytest.raises(exceptions.InvalidArgument, match="unknown selector"):
        await metrics.list_time_series(query(COUNT + ' AND revision="x"'))
    with pytest.raises(exceptions.InvalidArgument, match="at least 60 seconds"):
        await metrics.list_time_series(query(COUNT, per_series_aligner="ALIGN_DELTA", alignment_period={"seconds": 30}))


def policy(**more: Any) -> monitoring.AlertPolicy:
    threshold = {
        "filter": COUNT + ' AND metric.labels.response_code_class="5xx"',
        "aggregations": [{"alignment_period": {"seconds": 60}, "per_series_aligner": "ALIGN_RATE"}],
        "comparison": "COMPARISON_GT",
        "threshold_value": 0.5,
        "duration": {"seconds": 60},
    }
    fields: dict[str, Any] = {
        "display_name": "errors",
        "combiner": "OR",
        "conditions": [{"display_name": "5xx", "condition_threshold": threshold}],
        "user_labels": {"owner": "shop"},
    }
    return monitoring.AlertPolicy({**fields, **more})


async def test_the_life_of_a_policy(server: Server, policies: monitoring.AlertPolicyServiceAsyncClient) -> None:
    made = await policies.create_alert_policy(name=PROJECT, alert_policy=policy())
    assert made.name.startswith(f"{PROJECT}/alertPolicies/")
    assert made.conditions[0].name.startswith(f"{made.name}/conditions/")
    assert made.enabled is True
    assert made.creation_record.mutate_time == made.mutation_record.mutate_time
    changed = monitoring.AlertPolicy(made)
    changed.display_name = "not in the mask"
    changed.user_labels = {"owner": "other"}
    seen = await policies.update_alert_policy(alert_policy=changed, update_mask={"paths": ["user_labels"]})
    assert (seen.display_name, seen.user_labels) == ("errors", {"owner": "other"})
    assert seen.conditions[0].name == made.conditions[0].name
    assert seen.mutation_record.mutate_time > seen.creation_record.mutate_time
    listed = await policies.list_alert_policies({"name": PROJECT, "filter": 'user_labels.owner="other"'})
    assert [p.name async for p in listed] == [made.name]
    assert [
        p.name async for p in await policies.list_alert_policies({"name": PROJECT, "filter": 'user_labels.owner="x"'})
    ] == []
    seen.display_name = "whole"
    seen.user_labels = {}
    whole = await policies.update_alert_policy(alert_policy=seen)
    assert (whole.display_name, whole.user_labels) == ("whole", {})
    await policies.delete_alert_policy(name=made.name)
    with pytest.raises(exceptions.NotFound):
        await policies.get_alert_policy(name=made.name)
    effects = [e["effect"] for e in server.cloud.ledger.query(kind="effect")]
    assert effects == ["create", "update", "update", "delete"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"display_name": ""}, "display_name"),
        ({"combiner": 0}, "combiner"),
        ({"conditions": []}, "conditions"),
        ({"user_labels": {"Bad": "x"}}, "user_labels"),
        ({"alert_strategy": {"auto_close": {"seconds": 60}}}, "auto_close"),
        ({"threshold": {"duration": {"seconds": 30}}}, "duration"),
        ({"threshold": {"comparison": "COMPARISON_GE"}}, "comparison"),
        ({"threshold": {"filter": 'metric.type="x"'}}, "resource.type"),
        ({"threshold": {"filter": ""}}, "metric.type"),
        ({"threshold": {"aggregations": [{"per_series_aligner": "ALIGN_RATE"}]}}, "alignment_period"),
        ({"threshold": {"aggregations": [{"cross_series_reducer": "REDUCE_SUM"}]}}, "cross_series_reducer"),
    ],
)
async def test_bad_policies_are_refused(
    policies: monitoring.AlertPolicyServiceAsyncClient, change: dict[str, Any], field: str
) -> None:
    threshold = change.get("threshold", {})
    bad = policy(**{name: value for name, value in change.items() if name != "threshold"})
    for name, value in threshold.items():
        setattr(bad.conditions[0].condition_threshold, name, value)
    with pytest.raises(exceptions.InvalidArgument, match=field):
        await policies.create_alert_policy(name=PROJECT, alert_policy=bad)


async def test_channels_and_their_use(
    policies: monitoring.AlertPolicyServiceAsyncClient, channels: monitoring.NotificationChannelServiceAsyncClient
) -> None:
    email = monitoring.NotificationChannel(type_="email", labels={"email_address": "a@b.example"}, display_name="team")
    made = await channels.create_notification_channel(name=PROJECT, notification_channel=email)
    found = await channels.list_notification_channels({"name": PROJECT, "filter": 'type="email"'})
    assert [c.name async for c in found] == [made.name]
    with pytest.raises(exceptions.InvalidArgument, match="email_address"):
        await channels.create_notification_channel(name=PROJECT, notification_channel={"type_": "email"})
    with pytest.raises(exceptions.NotFound, match="notificationChannels/1"):
        await policies.create_alert_policy(
            name=PROJECT, alert_policy=policy(notification_channels=[f"{PROJECT}/notificationChannels/1"])
        )
    user = await policies.create_alert_policy(name=PROJECT, alert_policy=policy(notification_channels=[made.name]))
    made.display_name = "new"
    changed = await channels.update_notification_channel(
        notification_channel=made, update_mask={"paths": ["display_name"]}
    )
    assert (changed.display_name, len(changed.mutation_records)) == ("new", 1)
    with pytest.raises(exceptions.FailedPrecondition, match="in use"):
        await channels.delete_notification_channel(name=made.name)
    await channels.delete_notification_channel(name=made.name, force=True)
    assert (await policies.get_alert_policy(name=user.name)).notification_channels == []


def test_rest_shows_the_same_and_rejects_unknown_fields(server: Server) -> None:
    def send(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server.cloud.settings.endpoint}/v3/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    body = json.loads(monitoring.AlertPolicy.to_json(policy(), use_integers_for_enums=False))
    made = send("POST", f"{PROJECT}/alertPolicies", {k: v for k, v in body.items() if v})
    assert send("GET", made["name"]) == made
    serve(server, "web-1", 200, 0.01, 2)
    time.sleep(0.12)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    asked = {"filter": COUNT, "interval.startTime": ago, "interval.endTime": now}
    asked |= {"aggregation.alignmentPeriod": "60s", "aggregation.perSeriesAligner": "ALIGN_SUM"}
    found = send("GET", f"{PROJECT}/timeSeries?{urllib.parse.urlencode(asked)}")
    assert found["timeSeries"][0]["points"][0]["value"] == {"int64Value": "2"}
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        send("POST", f"{PROJECT}/alertPolicies", {"displayName": "x", "combinerr": "OR"})
    with caught.value as reply:
        assert "combinerr" in json.load(reply)["error"]["message"]

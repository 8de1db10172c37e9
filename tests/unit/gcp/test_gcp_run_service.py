"""What is sent to Cloud Run for a release, and what its answers are reduced to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.cloud import run_v2
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.policy import Diagnostics
from agui_operator.core.actions import ContainerTemplate, HttpProbe, JobTemplate, RevisionTemplate, SecretEnv
from agui_operator.core.names import Names
from agui_operator.core.traffic import Target, same_split
from agui_operator.core.words import UNDISCLOSED, Disclosure, Words
from agui_operator.gcp.kinds.run import containers
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport.run_views import LATEST, says_enough

NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
STATE = run_v2.Condition.State
CONTAINER = ContainerTemplate(
    image="repo@sha256:" + "a" * 64,
    service_account="runtime@demo.iam.gserviceaccount.com",
    env={"ZED": "1", "ALPHA": "2", "AGUI_RELEASE": "forged"},
    secrets=(SecretEnv("PASSWORD", "db", "7"), SecretEnv("KEY", "api", "2")),
    cpu="2",
    memory="1Gi",
    sql_instances=("demo:us-central1:main",),
    timeout=3600,
)
TEMPLATE = RevisionTemplate(
    revision="shop-concierge-r1",
    release="r1",
    container=CONTAINER,
    port=9000,
    cpu_always_allocated=True,
    startup_boost=True,
    min_instances=1,
    max_instances=7,
    concurrency=40,
    session_affinity=True,
    startup=HttpProbe("/readyz", 5, 3, 20, 2),
)
TRAFFIC = (Target("shop-concierge-r0", 100, "r-r0"), Target("shop-concierge-r1", 0, "r-r1"))


def test_a_service_is_sent_as_the_release_says() -> None:
    service = run_service.desired(TEMPLATE, TRAFFIC, NAMES)
    assert service.name == f"projects/demo/locations/us-central1/services/{NAMES.service}"
    assert dict(service.labels) == NAMES.labels
    assert service.ingress is run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER
    template = service.template
    assert (template.revision, dict(template.labels)) == (
        "shop-concierge-r1",
        {**NAMES.labels, "agui-release": "r1"},
    )
    assert (template.scaling.min_instance_count, template.scaling.max_instance_count) == (1, 7)
    assert (template.max_instance_request_concurrency, template.timeout.total_seconds()) == (40, 3600)
    assert template.session_affinity
    assert template.service_account == CONTAINER.service_account
    (box,) = template.containers
    assert (box.image, box.ports[0].container_port) == (CONTAINER.image, 9000)
    assert dict(box.resources.limits) == {"cpu": "2", "memory": "1Gi"}
    assert (box.resources.cpu_idle, box.resources.startup_cpu_boost) == (False, True)
    probe = box.startup_probe
    assert (probe.http_get.path, probe.http_get.port, probe.failure_threshold) == ("/readyz", 9000, 20)
    assert (probe.period_seconds, probe.timeout_seconds, probe.initial_delay_seconds) == (5, 3, 2)
    assert "liveness_probe" not in box
    assert [list(v.cloud_sql_instance.instances) for v in template.volumes] == [["demo:us-central1:main"]]
    assert [(m.name, m.mount_path) for m in box.volume_mounts] == [("cloudsql", "/cloudsql")]


def test_secrets_are_references_and_the_order_is_stable() -> None:
    box = run_service.desired(TEMPLATE, TRAFFIC, NAMES).template.containers[0]
    assert [e.name for e in box.env] == ["AGUI_RELEASE", "ALPHA", "ZED", "KEY", "PASSWORD"]
    assert box.env[0].value == "r1"
    reference = box.env[4].value_source.secret_key_ref
    assert (reference.secret, reference.version, box.env[4].value) == ("db", "7", "")
    turned = replace(CONTAINER, env=dict(reversed(list(CONTAINER.env.items()))), secrets=CONTAINER.secrets[::-1])
    assert run_service.desired(replace(TEMPLATE, container=turned), TRAFFIC, NAMES).template.containers[0] == box


@pytest.mark.parametrize("ingress", ["All", "Internal", "InternalAndCloudLoadBalancing"])
def test_every_ingress_is_known_and_nothing_makes_a_service_public(ingress: str) -> None:
    service = run_service.desired(replace(TEMPLATE, ingress=ingress), TRAFFIC, NAMES)
    assert service.ingress is not run_v2.IngressTraffic.INGRESS_TRAFFIC_UNSPECIFIED
    assert not service.invoker_iam_disabled


def test_a_job_runs_once() -> None:
    job = run_job.desired(JobTemplate("shop-concierge-m-r1", "r1", CONTAINER), NAMES)
    assert (job.template.task_count, job.template.template.max_retries) == (1, 0)
    assert "max_retries" in job.template.template
    assert job.template.template.timeout.total_seconds() == 3600
    assert dict(job.labels) == {**NAMES.labels, "agui-release": "r1"}


targets = st.builds(
    Target,
    st.sampled_from(["shop-concierge-r1", "shop-concierge-r2", LATEST]),
    st.integers(0, 100),
    st.one_of(st.none(), st.from_regex(r"[a-z]{3,6}", fullmatch=True)),
)


@given(st.lists(targets, max_size=5))
def test_what_is_sent_is_seen_again(traffic: list[Target]) -> None:
    service = run_service.desired(TEMPLATE, traffic, NAMES)
    view = run_service.view_of(run_v2.Service.deserialize(run_v2.Service.serialize(service)))
    assert view.traffic == tuple(traffic)
    assert same_split(view.traffic, traffic)
    assert (view.name, view.owner, view.template_revision) == (NAMES.service, NAMES.owner, TEMPLATE.revision)


def observed(state: Any, **fields: object) -> Any:
    service = run_service.desired(TEMPLATE, TRAFFIC, NAMES)
    service.terminal_condition = run_v2.Condition(type_="Ready", state=state, message="summary")
    service.latest_created_revision = f"{service.name}/revisions/shop-concierge-r1"
    service.latest_ready_revision = f"{service.name}/revisions/shop-concierge-r0"
    for name, value in fields.items():
        setattr(service, name, value)
    return service


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (STATE.CONDITION_SUCCEEDED, True),
        (STATE.CONDITION_FAILED, False),
        (STATE.CONDITION_RECONCILING, None),
        (STATE.CONDITION_PENDING, None),
        (STATE.STATE_UNSPECIFIED, None),
    ],
)
def test_ready_has_three_values(state: Any, ready: bool | None) -> None:
    assert run_service.view_of(observed(state)).ready is ready


def test_the_data_plane_is_told_apart_from_the_wish() -> None:
    latest = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
    named = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    statuses = [
        run_v2.TrafficTargetStatus(type_=latest, percent=100),
        run_v2.TrafficTargetStatus(type_=named, revision="shop-concierge-r1", tag="r-r1", uri="https://r-r1---x"),
    ]
    view = run_service.view_of(observed(STATE.CONDITION_SUCCEEDED, traffic_statuses=statuses))
    assert view.serving == (Target("shop-concierge-r0", 100), Target("shop-concierge-r1", 0, "r-r1"))
    assert view.traffic == TRAFFIC
    assert view.tag_uris == {"r-r1": "https://r-r1---x"}


def test_a_generation_that_was_not_observed_is_reconciling() -> None:
    assert run_service.view_of(observed(STATE.CONDITION_SUCCEEDED, generation=2, observed_generation=1)).reconciling
    assert not run_service.view_of(observed(STATE.CONDITION_SUCCEEDED, generation=2, observed_generation=2)).reconciling


def test_a_generation_that_failed_is_never_observed() -> None:
    """If reconciliation failed, `observed_generation` has the state of the last serving revision (run_v2.Service)."""
    behind = observed(STATE.CONDITION_FAILED, generation=2, observed_generation=1)
    assert not run_service.view_of(behind).reconciling
    assert run_service.view_of(behind).ready is False
    behind.reconciling = True
    assert run_service.view_of(behind).reconciling


def test_the_most_specific_message_is_shown() -> None:
    conditions = [
        run_v2.Condition(type_="RoutesReady", state=STATE.CONDITION_SUCCEEDED, message="fine"),
        run_v2.Condition(type_="ConfigurationsReady", state=STATE.CONDITION_FAILED, message="no port"),
    ]
    assert run_service.view_of(observed(STATE.CONDITION_FAILED, conditions=conditions)).said == Words.of_workload(
        "no port"
    )
    assert run_service.view_of(observed(STATE.CONDITION_FAILED)).said == Words.of_workload("summary")


def test_by_default_the_code_and_the_log_say_why_a_revision_is_not_ready() -> None:
    code = run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR
    failed = run_v2.Condition(state=STATE.CONDITION_FAILED, message="password=hunter2 is wrong", revision_reason=code)
    service = observed(STATE.CONDITION_FAILED, conditions=[failed], latest_created_revision="a/revisions/web-1")
    why = run_service.view_of(service).why(UNDISCLOSED)
    assert why.startswith("the container did not start, or did not answer its startup probe, in time (HEALTH_CHECK")
    assert """gcloud logging read 'resource.labels.revision_name="web-1"' --project=""" in why
    assert "wrong" not in why
    shown = run_service.view_of(service).why(Disclosure(Diagnostics.MESSAGES))
    assert "password=*** is wrong" in shown


def test_only_what_we_set_of_a_container_is_compared() -> None:
    want = run_service.desired(TEMPLATE, TRAFFIC, NAMES).template.containers[0]
    have = run_v2.Container.deserialize(run_v2.Container.serialize(want))
    have.name, have.resources.limits["ephemeral-storage"] = "filled-in", "1Gi"
    assert containers.same_container(want, have)
    for field, value in (("image", "other"), ("args", ["x"]), ("command", ["x"]), ("env", [])):
        other = run_v2.Container.deserialize(run_v2.Container.serialize(have))
        setattr(other, field, value)
        assert not containers.same_container(want, other), field
    have.resources.limits["memory"] = "2Gi"
    assert not containers.same_container(want, have)


COMPLETION = run_v2.ExecutionReference.CompletionStatus


@pytest.mark.parametrize(
    ("status", "enough", "succeeded"),
    [
        (COMPLETION.EXECUTION_SUCCEEDED, True, True),
        (COMPLETION.EXECUTION_RUNNING, True, None),
        (COMPLETION.EXECUTION_PENDING, True, None),
        (COMPLETION.EXECUTION_FAILED, False, False),
        (COMPLETION.EXECUTION_CANCELLED, False, False),
        (COMPLETION.COMPLETION_STATUS_UNSPECIFIED, False, None),
    ],
)
def test_a_job_says_how_its_execution_ended(status: Any, enough: bool, succeeded: bool | None) -> None:
    job = run_v2.Job(name="a/jobs/j", execution_count=2)
    assert says_enough(job)
    job.latest_created_execution = {"name": "j-abc", "completion_status": status}
    assert says_enough(job) is enough
    seen = run_job.view_of(job).execution
    assert seen is not None
    assert (seen.name, seen.succeeded, seen.count) == ("j-abc", succeeded, 2)

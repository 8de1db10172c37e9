"""Cloud Run's messages as plain protobuf classes, and the small vocabulary that all its resources share.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

from typing import Any

from google.cloud import run_v2
from google.protobuf import timestamp_pb2

Service: Any = run_v2.Service.pb()
ListServicesResponse: Any = run_v2.ListServicesResponse.pb()
Revision: Any = run_v2.Revision.pb()
RevisionTemplate: Any = run_v2.RevisionTemplate.pb()
ListRevisionsResponse: Any = run_v2.ListRevisionsResponse.pb()
Job: Any = run_v2.Job.pb()
ListJobsResponse: Any = run_v2.ListJobsResponse.pb()
ExecutionTemplate: Any = run_v2.ExecutionTemplate.pb()
ExecutionReference: Any = run_v2.ExecutionReference.pb()
Execution: Any = run_v2.Execution.pb()
ListExecutionsResponse: Any = run_v2.ListExecutionsResponse.pb()
Task: Any = run_v2.Task.pb()
ListTasksResponse: Any = run_v2.ListTasksResponse.pb()
TaskAttemptResult: Any = run_v2.TaskAttemptResult.pb()
Condition: Any = run_v2.Condition.pb()
TrafficTargetStatus: Any = run_v2.TrafficTargetStatus.pb()

PENDING = int(run_v2.Condition.State.CONDITION_PENDING)
RECONCILING = int(run_v2.Condition.State.CONDITION_RECONCILING)
FAILED = int(run_v2.Condition.State.CONDITION_FAILED)
SUCCEEDED = int(run_v2.Condition.State.CONDITION_SUCCEEDED)

ERROR = int(run_v2.Condition.Severity.ERROR)
INFO = int(run_v2.Condition.Severity.INFO)

LATEST = int(run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST)
REVISION = int(run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION)
GA = 4  # google.api.LaunchStage.GA
INGRESS_ALL = int(run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL)
GEN2 = int(run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2)

RUN_SUCCEEDED = int(run_v2.ExecutionReference.CompletionStatus.EXECUTION_SUCCEEDED)
RUN_FAILED = int(run_v2.ExecutionReference.CompletionStatus.EXECUTION_FAILED)
RUN_RUNNING = int(run_v2.ExecutionReference.CompletionStatus.EXECUTION_RUNNING)
RUN_CANCELLED = int(run_v2.ExecutionReference.CompletionStatus.EXECUTION_CANCELLED)

RevisionReason = run_v2.Condition.RevisionReason
ExecutionReason = run_v2.Condition.ExecutionReason
CommonReason = run_v2.Condition.CommonReason


def now() -> Any:
    stamp = timestamp_pb2.Timestamp()
    stamp.GetCurrentTime()
    return stamp


def condition(type_: str, state: int, message: str = "", **reason: Any) -> Any:
    """One condition; `reason` is one of reason, revision_reason, execution_reason. A failure has severity ERROR unless
    another one is given."""
    reason = {key: int(value) for key, value in reason.items()}
    if state == FAILED:
        reason.setdefault("severity", ERROR)
    return Condition(type_=type_, state=state, message=message, last_transition_time=now(), **reason)


def set_conditions(resource: Any, conditions: list[Any]) -> None:
    """Replaces a resource's conditions; the transition time moves only where the state moves."""
    before = {c.type_: c for c in resource.conditions}
    for fresh in conditions:
        old = before.get(fresh.type_)
        if old is not None and old.state == fresh.state:
            fresh.last_transition_time.CopyFrom(old.last_transition_time)
    del resource.conditions[:]
    resource.conditions.extend(conditions)


def condition_of(resource: Any, type_: str) -> Any:
    """The named condition; an empty one if it is not set yet."""
    return next((c for c in resource.conditions if c.type_ == type_), Condition(type_=type_))

"""Cloud Run Admin API v2."""

from __future__ import annotations

from localgcp.edge.interfaces import DATA_PLANE
from localgcp.kit.interfaces import CONTAINER_LOGS, INVOKERS, RUNTIME
from localgcp.kit.service import Part, ProtoApi, Service, Slot
from localgcp.services.run.executions import Executions, Tasks
from localgcp.services.run.invokers import ServiceInvokers
from localgcp.services.run.jobs import Jobs
from localgcp.services.run.revisions import Revisions
from localgcp.services.run.runtime.processes import ProcessRuntime, create_runtime
from localgcp.services.run.services import Services
from localgcp.services.run.tasks import RUNS, Runs

_API, _PACKAGE = "google.cloud.run.v2", "google.cloud.run_v2.services"
PROCESSES: Slot[ProcessRuntime] = Slot("run.processes")

SERVICE = Service(
    "run",
    hosts=("run.googleapis.com",),
    protos=(
        ProtoApi(f"{_API}.Services", Services, f"{_PACKAGE}.services"),
        ProtoApi(f"{_API}.Revisions", Revisions, f"{_PACKAGE}.revisions"),
        ProtoApi(f"{_API}.Jobs", Jobs, f"{_PACKAGE}.jobs"),
        ProtoApi(f"{_API}.Executions", Executions, f"{_PACKAGE}.executions"),
        ProtoApi(f"{_API}.Tasks", Tasks, f"{_PACKAGE}.tasks"),
    ),
    parts=(
        Part(RUNS, Runs),
        Part(INVOKERS, ServiceInvokers),
        Part(PROCESSES, create_runtime),
        Part(RUNTIME, lambda cloud: cloud.part(PROCESSES)),
        Part(CONTAINER_LOGS, lambda cloud: cloud.part(PROCESSES)),
        Part(DATA_PLANE, lambda cloud: cloud.part(PROCESSES)),
    ),
)

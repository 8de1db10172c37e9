"""What a deployment owns in the local cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud
from agui_dev.testbed.releases import URL_MAP
from agui_dev.testbed.system import service_of

Json = dict[str, Any]
_PARENT = "/v2/projects/demo/locations/us-central1"


@dataclass(frozen=True, slots=True)
class Belongings:
    """Cloud objects that carry one deployment's owner label, as they are now."""

    service: Json | None
    revisions: list[str]
    jobs: dict[str, int]  # name -> executions
    matcher: Json | None
    alerts: list[Json]
    backups: list[str]  # descriptions

    @staticmethod
    def of(cloud: LocalCloud, namespace: str, owner: str) -> Belongings:
        service = _service(cloud, service_of(namespace))
        jobs = cloud.items(f"{_PARENT}/jobs", "jobs")
        url_map = cloud.call(f"/compute/v1/projects/demo/global/urlMaps/{URL_MAP}")
        policies = cloud.items("/v3/projects/demo/alertPolicies", "alertPolicies")
        backups = cloud.items("/v1/projects/demo/instances/main/backupRuns", "items")
        return Belongings(
            service=service,
            revisions=_revisions(cloud, service_of(namespace)) if service else [],
            jobs={_last(j["name"]): int(j.get("executionCount", 0)) for j in jobs if _owner(j.get("labels")) == owner},
            matcher=next((m for m in url_map.get("pathMatchers", []) if owner in m.get("description", "")), None),
            alerts=[p for p in policies if _owner(p.get("userLabels")) == owner],
            backups=sorted(b["description"] for b in backups if owner in b.get("description", "")),
        )

    def is_empty(self) -> bool:
        return not (self.service or self.jobs or self.matcher or self.alerts)


def _service(cloud: LocalCloud, name: str) -> Json | None:
    try:
        found: Json = cloud.call(f"{_PARENT}/services/{name}")
    except CloudRefused as refused:
        if refused.code == 404:
            return None
        raise
    return found


def _revisions(cloud: LocalCloud, service: str) -> list[str]:
    listed = cloud.items(f"{_PARENT}/services/{service}/revisions", "revisions")
    return [_last(revision["name"]) for revision in listed]


def _owner(labels: Json | None) -> str:
    labels = labels or {}
    return str(labels.get("agui-owner") or labels.get("agui_owner", ""))  # Monitoring knows no dashes


def _last(name: str) -> str:
    return name.rpartition("/")[2]

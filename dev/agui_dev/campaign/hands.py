"""What people do by hand to the cloud objects of a deployment, where it is possible at the moment."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from agui_dev.campaign.stage import RUN, Json, Target
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.releases import URL_MAP
from agui_dev.testbed.system import service_of

_MAP = f"/compute/v1/projects/demo/global/urlMaps/{URL_MAP}"
_REVISION, _LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"


def traffic_moved(target: Target) -> None:
    """All traffic to one revision that has a target, or to the latest one."""
    service = target.service()
    revisions = [t["revision"] for t in (service or {}).get("traffic", []) if t.get("revision")]
    if service is None or not revisions:
        return
    one: Json = {"type": _REVISION, "revision": target.rng.choice(revisions), "percent": 100}
    if target.rng.random() < 0.2:
        one = {"type": _LATEST, "percent": 100}
    _patch_service(target, service, "traffic", [one])


def template_edited(target: Target) -> None:
    """`gcloud run services update --update-env-vars`: a revision of another making, which gets no traffic."""
    service = target.service()
    if service is None:
        return
    template = {k: v for k, v in service["template"].items() if k != "revision"}
    containers = [dict(one) for one in template["containers"]]
    containers[0]["env"] = [*containers[0].get("env", []), {"name": "BY_HAND", "value": str(target.rng.random())}]
    _patch_service(target, service, "template", {**template, "containers": containers})


def _patch_service(target: Target, service: Json, field: str, value: Any) -> None:
    target.changed(f"/v2/{service['name']}?updateMask={field}", {"name": service["name"], field: value})


def service_deleted(target: Target) -> None:
    target.changed(f"{RUN}/services/{service_of(target.namespace)}", None, "DELETE")


def idle_revisions_deleted(target: Target) -> None:
    """Those without traffic and tag: Cloud Run refuses others."""
    service = target.service()
    if service is None:
        return
    reached = {t.get("revision") for t in service.get("traffic", [])}
    for revision in target.cloud.items(f"/v2/{service['name']}/revisions", "revisions"):
        if revision["name"].rpartition("/")[2] not in reached:
            target.changed(f"/v2/{revision['name']}", None, "DELETE")


def candidate_deleted(target: Target) -> None:
    """Every revision that serves no user, with its tag."""
    service = target.service()
    if service is None:
        return
    serving = [t for t in service.get("traffic", []) if t.get("percent")]
    _patch_service(target, service, "traffic", serving)
    idle_revisions_deleted(target)


def jobs_deleted(target: Target) -> None:
    for job in target.cloud.items(f"{RUN}/jobs", "jobs"):
        if job["name"].rpartition("/")[2].startswith(f"{service_of(target.namespace)}-"):
            target.changed(f"/v2/{job['name']}", None, "DELETE")


def page_rules_deleted(target: Target) -> None:
    """Host rule and path matcher of the deployment."""
    for _ in range(5):
        url_map = target.cloud.call(_MAP)
        ours = {m["name"] for m in url_map.get("pathMatchers", []) if service_of(target.namespace) in m["name"]}
        rules = [r for r in url_map.get("hostRules", []) if r["pathMatcher"] not in ours]
        matchers = [m for m in url_map.get("pathMatchers", []) if m["name"] not in ours]
        body = {"fingerprint": url_map["fingerprint"], "hostRules": rules or None, "pathMatchers": matchers or None}
        if not ours or target.changed(_MAP, body):
            return


def page_rules_edited(target: Target) -> None:
    """Every rewrite of the deployment's path matcher leads into an empty folder."""
    for _ in range(5):
        url_map = target.cloud.call(_MAP)
        matchers = url_map.get("pathMatchers", [])
        found = [m for m in matchers if service_of(target.namespace) in m["name"]]
        if not found or target.changed(
            _MAP,
            {
                "fingerprint": url_map["fingerprint"],
                "pathMatchers": [_misled(m) if m in found else m for m in matchers],
                "hostRules": url_map.get("hostRules"),
            },
        ):
            return


def _misled(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("/releases/"):
        return "/releases/nowhere/index.html"
    if isinstance(value, dict):
        return {key: _misled(one) for key, one in value.items()}
    return [_misled(one) for one in value] if isinstance(value, list) else value


def page_deleted(target: Target) -> None:
    """One of the objects that the page consists of."""
    bucket = f"{target.namespace}-assets"
    objects = target.cloud.items(f"/storage/v1/b/{bucket}/o", "items")
    if objects:
        name = target.rng.choice(sorted(one["name"] for one in objects))
        target.changed(f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", None, "DELETE")


def missing_files(target: Target, frontend: str) -> list[str]:
    """Objects that the page of a release folder consists of and that do not exist."""
    objects, folder = f"/storage/v1/b/{target.namespace}-assets/o", f"releases/{frontend}/"
    have = {one["name"] for one in target.cloud.items(objects, "items")}
    if f"{folder}manifest.json" not in have:
        return [f"{folder}manifest.json"]
    listed = target.cloud.call(f"{objects}/{quote(f'{folder}manifest.json', safe='')}?alt=media")["files"]
    paths = [file["path"] for file in listed]
    return sorted({path if path.startswith("assets/") else folder + path for path in paths} - have)


def alerts_deleted(target: Target) -> None:
    for policy in owned(target).alerts:
        target.changed(f"/v3/{policy['name']}", None, "DELETE")


def alerts_edited(target: Target) -> None:
    """Other words and another limit."""
    for policy in owned(target).alerts:
        conditions = [{**c, "conditionThreshold": {**c["conditionThreshold"], "thresholdValue": 0.5}}
                      for c in policy["conditions"]]  # fmt: skip
        body = {"name": policy["name"], "displayName": "by hand", "conditions": conditions}
        target.changed(f"/v3/{policy['name']}?updateMask=displayName,conditions", body)


def owned(target: Target) -> Belongings:
    return Belongings.of(target.cloud, target.namespace, target.system.owner(target.namespace))

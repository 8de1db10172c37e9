"""What a reference in a URL map leads to: a backend's kind and name, and the Cloud Run service behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localgcp.edge.traffic import Routes, TrafficTable
from localgcp.edge.urlmap_match import as_maps, as_text
from localgcp.kit.interfaces import UrlMaps

_SERVICE = re.compile(
    r"(?:.*?projects/(?P<project>[^/]+)/)?.*?(?P<kind>backendBuckets|backendServices)/(?P<name>[^/]+)"
)
_GROUP = re.compile(
    r"(?:.*?projects/(?P<project>[^/]+)/)?(?:.*?regions/(?P<region>[^/]+)/)?networkEndpointGroups/(?P<name>[^/]+)"
)


def service_reference(reference: str, project: str) -> tuple[str, str, str]:
    """(project, kind, name) of a full or partial URL; empty kind and name when it is none."""
    found = _SERVICE.fullmatch(reference)
    return (found["project"] or project, found["kind"], found["name"]) if found else (project, "", "")


def cloud_run_of(
    routes: Routes, maps: UrlMaps, project: str, backend: Mapping[str, Any]
) -> tuple[TrafficTable, str | None] | None:
    """The Cloud Run service behind a backend service: its first serverless NEG whose service exists."""
    for member in as_maps(backend.get("backends")):
        group = _GROUP.fullmatch(as_text(member.get("group")))
        if group is None:
            continue
        owner = group["project"] or project
        endpoint = maps.backend(owner, "networkEndpointGroups", group["name"])
        target = endpoint.get("cloudRun") if endpoint is not None else None
        if endpoint is None or not isinstance(target, Mapping):
            continue
        region = group["region"] or as_text(endpoint.get("region")).rpartition("/")[2]
        table = routes.by_name(owner, region, as_text(target.get("service")))
        if table is not None:
            return table, as_text(target.get("tag")) or None
    return None

"""Whom the edge lets in: hosts of services and of the URL map, and pages of other origins where the service is public.

An application answers for itself to pages of other origins, so that it behaves here as on Google Cloud. That holds for
public services. In front of a private one stands IAM there, which a web page has no token for; here the edge refuses
the page in its place.
"""

from __future__ import annotations

import random

from aiohttp import web

from localgcp.edge.backends import cloud_run_of, service_reference
from localgcp.edge.interfaces import DataPlane, Sources
from localgcp.edge.requests import DECISION, RUN_SUFFIX, front_end_of, host_of, seen_of
from localgcp.edge.traffic import TrafficTable
from localgcp.edge.urlmap import Redirect, evaluate, names_host
from localgcp.kit.guard import is_link


class Visitors:
    def __init__(self, plane: DataPlane, sources: Sources) -> None:
        self._plane, self._url_maps, self._invokers = plane, sources.url_maps, sources.invokers

    def serves(self, name: str) -> bool:
        """Whether the URL map of the forwarding rule names a host; `*` names none."""
        maps = self._url_maps()
        edge = maps.edge_url_map()
        url_map = maps.url_map(*edge, 0) if edge is not None else None
        return url_map is not None and names_host(url_map, name)

    def judge(self, request: web.BaseRequest, _: str) -> str:
        """Why a request of a page of another origin does not reach a service; "" where it does."""
        table = self._service(request)
        if table is None or is_link(request.method, request.headers):
            return ""
        route, invokers = table.route, self._invokers()
        if invokers is not None and invokers.anyone(route.project, route.location, route.service):
            return ""
        return (
            f"A web page of another origin sent this request, and the service {route.service} is private: on Google "
            "Cloud, IAM refuses it. To let pages in, grant roles/run.invoker to allUsers, set invoker_iam_disabled, or "
            "name the page's origin: `localgcp serve --allow-origin ORIGIN`."
        )

    def _service(self, request: web.BaseRequest) -> TrafficTable | None:
        """The Cloud Run service that a request is for; None for a bucket's object, which everybody may read."""
        host = host_of(request)
        if host.endswith(RUN_SUFFIX):
            found = self._plane.routes.by_host(host)
            return found[0] if found is not None else None
        maps = self._url_maps()
        edge = maps.edge_url_map()
        url_map = maps.url_map(*edge, front_end_of(request)) if edge is not None else None
        if edge is None or url_map is None:
            return None
        decision = evaluate(url_map, seen_of(request), random.random())
        request[DECISION] = decision  # a weighted split is drawn once: what is judged here is what is served
        if isinstance(decision, Redirect):
            return None
        project, kind, name = service_reference(decision.service, edge[0])
        backend = maps.backend(project, kind, name) if kind == "backendServices" else None
        behind = cloud_run_of(self._plane.routes, maps, project, backend) if backend is not None else None
        return behind[0] if behind is not None else None

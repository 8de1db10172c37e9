"""The Compute Engine v1 resources of a load balancer."""

from __future__ import annotations

from localgcp.kit.interfaces import URL_MAPS
from localgcp.kit.service import Part, Service
from localgcp.services.compute.resources import RESOURCES, Resources, routes

SERVICE = Service(
    "compute",
    hosts=("compute.googleapis.com",),
    rest=routes,
    parts=(Part(RESOURCES, Resources), Part(URL_MAPS, lambda cloud: cloud.part(RESOURCES))),
)

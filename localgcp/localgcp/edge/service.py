"""The edge as parts of the cloud."""

from __future__ import annotations

from localgcp.edge.edge import Edge, create_edge
from localgcp.kit.interfaces import CDN_CACHE
from localgcp.kit.service import Part, Service, Slot

EDGE: Slot[Edge] = Slot("edge")

SERVICE = Service("edge", parts=(Part(EDGE, create_edge), Part(CDN_CACHE, lambda cloud: cloud.part(EDGE))))

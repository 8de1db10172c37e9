"""The read side of an OCI image registry."""

from __future__ import annotations

from localgcp.kit.service import Service
from localgcp.services.registry.manifests import routes

SERVICE = Service("registry", hosts=("*.pkg.dev",), rest=routes)

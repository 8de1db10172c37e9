"""Cloud Storage JSON API v1."""

from __future__ import annotations

from localgcp.kit.interfaces import BUCKETS
from localgcp.kit.service import Part, Service
from localgcp.services.storage.buckets import routes
from localgcp.services.storage.store import STORE, StoredBuckets

SERVICE = Service(
    "storage",
    hosts=("storage.googleapis.com",),
    rest=routes,
    parts=(Part(STORE, StoredBuckets), Part(BUCKETS, lambda cloud: cloud.part(STORE))),
)

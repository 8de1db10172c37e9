"""Cloud Logging API v2: what containers wrote, to be read."""

from __future__ import annotations

from localgcp.kit.service import ProtoApi, Service
from localgcp.services.logging.entries import Logging

SERVICE = Service(
    "logging",
    hosts=("logging.googleapis.com",),
    protos=(
        ProtoApi(
            "google.logging.v2.LoggingServiceV2",
            Logging,
            "google.cloud.logging_v2.services.logging_service_v2",
            rules=(("POST", "/v2/entries:list", "*", "ListLogEntries"),),  # the client package carries none
        ),
    ),
)

"""Secret Manager API v1."""

from __future__ import annotations

from localgcp.kit.interfaces import SECRETS
from localgcp.kit.service import Part, ProtoApi, Service
from localgcp.services.secretmanager.secrets import SecretManager
from localgcp.services.secretmanager.store import STORE, Secrets

SERVICE = Service(
    "secretmanager",
    hosts=("secretmanager.googleapis.com",),
    protos=(
        ProtoApi(
            "google.cloud.secretmanager.v1.SecretManagerService",
            SecretManager,
            "google.cloud.secretmanager_v1.services.secret_manager_service",
        ),
    ),
    parts=(Part(STORE, Secrets), Part(SECRETS, lambda cloud: cloud.part(STORE))),
)

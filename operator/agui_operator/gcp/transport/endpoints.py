"""Real Google Cloud or one local endpoint: the only file that knows the difference.

Real: TLS and Application Default Credentials for *.googleapis.com and Artifact Registry hosts. Local: an insecure
channel and plain HTTP to the one host:port that serves every API, without credentials.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agui_operator.api.conditions import Reason
from agui_operator.core.errors import UserError
from agui_operator.gcp.transport.quota import STORAGE, UNLIMITED, QuotaLimits

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),  # what is retried is decided in calls.py alone
)
# An access token goes to Google's registries only; any other host in an image reference could keep it.
_GOOGLE_REGISTRY = re.compile(r"([a-z0-9-]+-)?docker\.pkg\.dev|([a-z]+\.)?gcr\.io")


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """`endpoint` None: Google Cloud; else `http://host:port`. `timeout` in seconds, per call unless the call has its
    own. `quota` None: Google's default quotas, none locally."""

    endpoint: str | None = None
    user_agent: str = "agui-operator/0.1.0"
    timeout: float = 20.0
    quota: QuotaLimits | None = None

    @property
    def limits(self) -> QuotaLimits:
        if self.quota is not None:
            return self.quota
        return QuotaLimits() if self.endpoint is None else UNLIMITED

    @property
    def storage_limits(self) -> QuotaLimits:
        """Cloud Storage allows far more than the other APIs."""
        return STORAGE if self.quota is None and self.endpoint is None else self.limits


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where each API is. An API is named by the first label of its host: run, storage, compute, ..."""

    endpoint: str | None

    def target(self, api: str) -> str:
        """Target of a gRPC channel."""
        if self.endpoint is not None:
            return urlsplit(self.endpoint).netloc
        return f"{api}.googleapis.com:443"

    def base(self, api: str) -> str:
        """URL before the path of a REST call."""
        return self.endpoint if self.endpoint is not None else f"https://{api}.googleapis.com"

    def registry(self, host: str) -> str:
        """URL before `/v2/` of the registry that an image reference names. Raises UserError for a host that is not
        Google's."""
        if self.endpoint is not None:
            return self.endpoint
        if not _GOOGLE_REGISTRY.fullmatch(host):
            raise UserError(
                f"tags are resolved in Artifact Registry only, not in {host!r}: pin the image as repository@sha256:..."
            )
        return f"https://{host}"

    def channel(self, api: str, credentials: Any, options: tuple[tuple[str, Any], ...] = ()) -> Any:
        """A grpc.aio channel; needs a running event loop, and connects with the first call."""
        import grpc.aio
        from google.api_core import grpc_helpers_async

        if self.endpoint is not None:
            return grpc.aio.insecure_channel(self.target(api), options=[*_CHANNEL_OPTIONS, *options])
        return grpc_helpers_async.create_channel(
            self.target(api), credentials=credentials, scopes=SCOPES, options=[*_CHANNEL_OPTIONS, *options]
        )

    async def credentials(self, given: Any) -> Any:
        """`given`, or Application Default Credentials, or anonymous ones where the endpoint is local. Raises UserError
        when there are none."""
        if given is not None:
            return given
        if self.endpoint is not None:
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()
        return await asyncio.to_thread(_application_default)


def _application_default() -> Any:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError as error:
        raise UserError(
            f"no Google credentials: {error}; use Workload Identity in a cluster, or "
            "`gcloud auth application-default login`",
            reason=Reason.NO_CREDENTIALS,
        ) from error
    return credentials

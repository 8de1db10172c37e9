"""The metadata server: access tokens and identity tokens."""

from __future__ import annotations

from localgcp.kit.interfaces import ACCESS_TOKENS
from localgcp.kit.service import Part, Service
from localgcp.services.metadata.access_tokens import IssuedTokens
from localgcp.services.metadata.server import routes

SERVICE = Service(
    "metadata",
    hosts=("metadata.google.internal",),
    rest=routes,
    parts=(Part(ACCESS_TOKENS, lambda cloud: IssuedTokens()),),
)

"""ID tokens for calls to Cloud Run services that only let known callers in.

With Workload Identity the token comes from the metadata server. Locally there is none and none is needed.
Source: https://cloud.google.com/run/docs/authenticating/service-to-service
"""

from __future__ import annotations

import asyncio
import logging
import time

from agui_operator.core.errors import CloudError

logger = logging.getLogger(__name__)
_LIFETIME = 50 * 60.0  # seconds; Google's tokens are valid for an hour


class IdTokens:
    """One cached token per audience."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def token(self, audience: str) -> str:
        """A token for the service at `audience` (its own origin). Raises CloudError 401 if none can be had."""
        async with self._lock:
            token, until = self._tokens.get(audience, ("", 0.0))
            if time.monotonic() < until:
                return token
            token = await asyncio.to_thread(_fetch, audience)
            self._tokens[audience] = (token, time.monotonic() + _LIFETIME)
            return token


def _fetch(audience: str) -> str:
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    try:
        return str(id_token.fetch_id_token(Request(), audience))
    except GoogleAuthError as error:
        raise CloudError(401, f"no ID token for {audience}: {error}", method="IdToken.Fetch") from error

"""Access tokens that this cloud gave out: whose each is and until when. In memory only, as a token is worth a password.

Source: https://cloud.google.com/compute/docs/access/authenticate-workloads
"""

from __future__ import annotations

import secrets
import time

from localgcp.kit.interfaces import Grant

LIFETIME_SECONDS = 3600.0


class IssuedTokens:
    """Implements `interfaces.AccessTokens`."""

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}

    def issue(self, email: str, seconds: float = LIFETIME_SECONDS) -> str:
        """A new token; earlier ones of the same principal stay valid."""
        now = time.time()
        self._grants = {token: grant for token, grant in self._grants.items() if grant.expires > now}
        token = "ya29." + secrets.token_urlsafe(48)
        self._grants[token] = Grant(email, now + seconds)
        return token

    def find(self, token: str) -> Grant | None:
        """None for a token that is unknown or has expired."""
        grant = self._grants.get(token)
        return grant if grant is not None and grant.expires > time.time() else None

    def reset(self) -> None:
        self._grants.clear()

"""Tokens of one issuer: signature, issuer, audience and time, with the issuer's keys kept and renewed."""

from __future__ import annotations

import time
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

_KEYS_LIFETIME = 3600.0
_KEYS_RETRY = 60.0
LEEWAY = 30  # seconds that clocks may differ: so long after its end a token still passes


class Unauthenticated(Exception):
    """No or no valid token; the message may be shown to the caller."""


class IdentityUnavailable(Exception):
    """The issuer's keys cannot be read: nobody can be verified now."""


class Issuer:
    """Verifies tokens of `issuer` for one of `audiences`. Keys are fetched on first use, kept an hour, and
    again for an unknown key id. Without `keys_url` the issuer's discovery document names it."""

    def __init__(
        self, issuer: str, audiences: tuple[str, ...], keys_url: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._issuer = issuer
        self._audiences = audiences
        self._keys_url = keys_url
        self._transport = transport
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._asked = float("-inf")

    async def verify(self, token: str) -> dict[str, Any]:
        """The token's claims. Raises Unauthenticated, IdentityUnavailable."""
        if not all(self._audiences) or not self._audiences:
            raise Unauthenticated("no audience is configured")
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "values": list(self._audiences)},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            try:
                decoded = self._decode(token, await self._key_set(_KEYS_LIFETIME))
            except InvalidKeyIdError:
                # a key the issuer has just begun to use: look again, but not for every forged token
                decoded = self._decode(token, await self._key_set(_KEYS_RETRY))
            rules.validate(decoded.claims)
        except (JoseError, ValueError):
            raise Unauthenticated("the token is not valid") from None
        return dict(decoded.claims)

    def _decode(self, token: str, keys: KeySet) -> jwt.Token:
        return jwt.decode(token, keys, algorithms=["ES256", "RS256"])

    async def _key_set(self, most_seconds: float) -> KeySet:
        """The issuer's keys, at most that old if it answers. Raises IdentityUnavailable."""
        now = time.monotonic()
        if self._keys is not None and (now - self._fetched < most_seconds or now - self._asked < _KEYS_RETRY):
            return self._keys
        self._asked = now
        try:
            async with httpx.AsyncClient(timeout=5, transport=self._transport) as client:
                if not self._keys_url:
                    discovered = await client.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                    discovered.raise_for_status()
                    self._keys_url = str(discovered.json()["jwks_uri"])
                answer = await client.get(self._keys_url)
                answer.raise_for_status()
                self._keys = KeySet.import_key_set(answer.json())
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            if self._keys is not None:
                return self._keys  # yesterday's keys are better than locking everybody out
            raise IdentityUnavailable("the issuer's keys cannot be read") from exc
        self._fetched = time.monotonic()
        return self._keys

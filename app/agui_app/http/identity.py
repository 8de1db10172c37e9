"""Who is asking: the user comes from a verified token, never from what the client says about itself.

`iap` verifies the header of Identity-Aware Proxy (https://cloud.google.com/iap/docs/signed-headers-howto), `oidc` a
bearer token of any OpenID Connect issuer. `development` believes a header and says so loudly at start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from agui_app.settings import Settings

IAP_HEADER = "x-goog-iap-jwt-assertion"
IAP_ISSUER = "https://cloud.google.com/iap"
IAP_KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"
DEVELOPMENT_HEADER = "x-agui-user"
DEVELOPMENT_USER = "developer"
SYNTHETIC_HEADER, SYNTHETIC_USER = "x-agui-synthetic", "smoke"  # checks of a release are nobody's conversations
TOKEN_SUBPROTOCOL = "bearer."  # noqa: S105 (a prefix, not a secret)
_KEYS_LIFETIME = 3600.0
_KEYS_RETRY = 60.0


class Unauthenticated(Exception):
    """No or no valid token; the message may be shown to the caller."""


class IdentityUnavailable(Exception):
    """The issuer's keys cannot be read: nobody can be verified now."""


class Callers:
    """Gives the user id of a request. Keys are fetched on first use, kept an hour, and again for an unknown key id."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._mode = settings.identity
        self._audience = settings.identity_audience
        self._issuer = settings.identity_issuer or IAP_ISSUER
        self._keys_url = settings.identity_keys_url or (IAP_KEYS if settings.identity == "iap" else "")
        self._transport = transport
        self._keys: KeySet | None = None
        self._fetched = float("-inf")
        self._asked = float("-inf")

    async def user_of(self, headers: Mapping[str, str], subprotocols: tuple[str, ...] = ()) -> str:
        """The user id, at most 128 characters. A browser's WebSocket brings its token as subprotocol `bearer.<token>`.

        Raises Unauthenticated, IdentityUnavailable.
        """
        if self._mode == "development":
            nameless = SYNTHETIC_USER if SYNTHETIC_HEADER in headers else DEVELOPMENT_USER
            return headers.get(DEVELOPMENT_HEADER, "")[:128] or nameless
        claims = await self._verify(self._token(headers, subprotocols))
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 1 <= len(subject) <= 128:
            raise Unauthenticated("the token names no subject")
        return subject

    def _token(self, headers: Mapping[str, str], subprotocols: tuple[str, ...]) -> str:
        if self._mode == "iap":
            token = headers.get(IAP_HEADER, "")
        else:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            token = token.strip() if scheme.lower() == "bearer" else ""
            for protocol in subprotocols:
                token = token or protocol.removeprefix(TOKEN_SUBPROTOCOL) * protocol.startswith(TOKEN_SUBPROTOCOL)
        if not token:
            raise Unauthenticated("a token is needed")
        return token

    async def _verify(self, token: str) -> dict[str, Any]:
        rules = jwt.JWTClaimsRegistry(
            leeway=30,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
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

"""Who is asking: the user comes from a verified token, never from what the client says about itself.

`iap` verifies the header of Identity-Aware Proxy (https://cloud.google.com/iap/docs/signed-headers-howto), `oidc` a
bearer token of any OpenID Connect issuer. In both, release checks log in with a Google ID token of their service
account in a header of its own. `development` believes headers, and starts on the loopback interface only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from agui_app.access import Access
from agui_app.caller import Caller
from agui_app.http.keys import LEEWAY, Issuer, Unauthenticated

IAP_HEADER = "x-goog-iap-jwt-assertion"
IAP_ISSUER = "https://cloud.google.com/iap"
IAP_KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"
CHECK_HEADER = "x-agui-check-authorization"
DEVELOPMENT_HEADER, DEVELOPMENT_CUSTOMER_HEADER = "x-agui-user", "x-agui-customer"
DEVELOPMENT_USER = "developer"
SYNTHETIC_HEADER, SYNTHETIC_USER = "x-agui-synthetic", "smoke"  # checks of a release are nobody's conversations
TOKEN_SUBPROTOCOL = "bearer."  # noqa: S105 (a prefix, not a secret)


class Callers:
    """Gives the caller of a request."""

    def __init__(self, access: Access, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._access = access
        self._users = Issuer(
            access.issuer or IAP_ISSUER,
            (access.audience,),
            access.keys_url or (IAP_KEYS if access.identity == "iap" else ""),
            transport,
        )
        self._checks = Issuer(access.checks.issuer, access.checks.audiences, access.checks.keys_url, transport)

    async def caller_of(self, headers: Mapping[str, str], subprotocols: tuple[str, ...] = ()) -> Caller:
        """The caller, whose id has at most 128 printable characters. A browser's WebSocket brings its token as
        subprotocol `bearer.<token>`.

        Raises Unauthenticated, IdentityUnavailable.
        """
        if self._access.identity == "development":
            return self._believed(headers)
        if CHECK_HEADER in headers:
            return await self._check(_bearer(headers[CHECK_HEADER]))
        claims = await self._users.verify(self._token(headers, subprotocols))
        owner = claims.get(self._access.customer_claim)
        customer = owner if isinstance(owner, str) else ""
        return Caller(_named(claims.get("sub")), customer, expires_at=float(claims["exp"]) + LEEWAY)

    def _believed(self, headers: Mapping[str, str]) -> Caller:
        is_check = SYNTHETIC_HEADER in headers and not headers.get(DEVELOPMENT_HEADER)
        user = headers.get(DEVELOPMENT_HEADER, "")[:128] or (SYNTHETIC_USER if is_check else DEVELOPMENT_USER)
        customer = headers.get(DEVELOPMENT_CUSTOMER_HEADER, "")[:128] or self._access.development_customer
        return Caller(user, customer, is_check=is_check)

    async def _check(self, token: str) -> Caller:
        """The identity of release checks: one of the configured service accounts, and none where none is configured."""
        if not self._access.checks.accounts:
            raise Unauthenticated("no identity for checks is configured")
        claims = await self._checks.verify(token)
        if claims.get("email") not in self._access.checks.accounts or claims.get("email_verified") is not True:
            raise Unauthenticated("the token is not of an account that may run checks")
        return Caller(
            SYNTHETIC_USER, self._access.checks.customer, expires_at=float(claims["exp"]) + LEEWAY, is_check=True
        )

    def _token(self, headers: Mapping[str, str], subprotocols: tuple[str, ...]) -> str:
        if self._access.identity == "iap":
            token = headers.get(IAP_HEADER, "")
        else:
            token = _bearer(headers.get("authorization", ""))
            for protocol in subprotocols:
                token = token or protocol.removeprefix(TOKEN_SUBPROTOCOL) * protocol.startswith(TOKEN_SUBPROTOCOL)
        if not token:
            raise Unauthenticated("a token is needed")
        return token


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _named(subject: Any) -> str:
    if not isinstance(subject, str) or not 1 <= len(subject) <= 128 or not subject.isprintable():
        raise Unauthenticated("the token names no subject")
    if subject == SYNTHETIC_USER:
        raise Unauthenticated("this subject is kept for release checks")
    return subject

"""Who is asking: only a token of the right issuer, for this audience, in time and signed by a known key says so."""

from __future__ import annotations

import time

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from agui_app.http.identity import IAP_HEADER, Callers, IdentityUnavailable, Unauthenticated
from agui_app.settings import read_settings

BASE = {"DATABASE_URL": "postgresql://h/n", "AGUI_IDENTITY_AUDIENCE": "shop"}
OIDC = BASE | {"AGUI_IDENTITY": "oidc", "AGUI_IDENTITY_ISSUER": "https://issuer.example"}
IAP = BASE | {"AGUI_IDENTITY": "iap"}
KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})
NEXT_KEY = RSAKey.generate_key(2048, {"kid": "k2", "alg": "RS256", "use": "sig"})


class Issuer:
    """Serves discovery and keys; counts how often it is asked."""

    def __init__(self, *keys) -> None:
        self.keys, self.asked, self.down = list(keys), 0, False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("down")
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"jwks_uri": "https://issuer.example/keys"})
        self.asked += 1
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})


def callers(env, issuer) -> Callers:
    return Callers(read_settings(env), httpx.MockTransport(issuer))


def token(key=KEY, alg="ES256", **claims) -> str:
    base = {"iss": "https://issuer.example", "aud": "shop", "sub": "ann", "exp": int(time.time()) + 60}
    return jwt.encode({"alg": alg, "kid": key.kid}, {**base, **claims}, key)


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


async def test_a_good_token_names_the_user_and_keys_are_kept():
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await who.user_of(bearer(token())) == "ann"
    assert await who.user_of(bearer(token(sub="bob"))) == "bob"
    assert issuer.asked == 1


async def test_a_browsers_socket_brings_its_token_as_subprotocol():
    who = callers(OIDC, Issuer(KEY))
    assert await who.user_of({}, ("agui", f"bearer.{token()}")) == "ann"


async def test_iap_reads_its_own_header_and_nothing_else():
    who = callers(IAP, Issuer(KEY))
    good = token(iss="https://cloud.google.com/iap", sub="accounts.google.com:7")
    assert await who.user_of({IAP_HEADER: good}) == "accounts.google.com:7"
    with pytest.raises(Unauthenticated):
        await who.user_of(bearer(good))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-agui-user": "root"},
        {"authorization": "Basic YTpi"},
        bearer("x.y.z"),
        bearer(token(iss="https://evil.example")),
        bearer(token(aud="other")),
        bearer(token(exp=int(time.time()) - 3600)),
        bearer(token(sub="")),
        bearer(token(sub="x" * 129)),
        bearer(token(sub=7)),
        bearer(token(ECKey.generate_key("P-256", {"kid": "k1"}))),
        bearer(token(OctKey.import_key("shared-secret-of-32-bytes-length!", {"kid": "k1"}), "HS256")),
        bearer(token() + "x"),
    ],
)
async def test_anything_else_is_refused(headers):
    with pytest.raises(Unauthenticated):
        await callers(OIDC, Issuer(KEY)).user_of(headers)


async def test_an_unsigned_token_is_refused():
    head, body, _ = token().split(".")
    none = "eyJhbGciOiJub25lIn0"
    for forged in (f"{none}.{body}.", f"{head}.{body}."):
        with pytest.raises(Unauthenticated):
            await callers(OIDC, Issuer(KEY)).user_of(bearer(forged))


async def test_a_rotated_key_is_found_without_a_restart(monkeypatch):
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await who.user_of(bearer(token())) == "ann"
    issuer.keys.append(NEXT_KEY)
    fresh = token(NEXT_KEY, "RS256")
    with pytest.raises(Unauthenticated):  # asked a moment ago: a stream of forged tokens must not flood the issuer
        await who.user_of(bearer(fresh))
    later = time.monotonic() + 120
    monkeypatch.setattr("agui_app.http.identity.time.monotonic", lambda: later)
    assert await who.user_of(bearer(fresh)) == "ann"
    assert issuer.asked == 2


async def test_known_keys_outlive_the_issuer_but_nobody_is_believed_without_any(monkeypatch):
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await who.user_of(bearer(token())) == "ann"
    issuer.down = True
    later = time.monotonic() + 7200
    monkeypatch.setattr("agui_app.http.identity.time.monotonic", lambda: later)
    assert await who.user_of(bearer(token())) == "ann"
    with pytest.raises(IdentityUnavailable):
        await callers(OIDC, issuer).user_of(bearer(token()))


async def test_development_believes_a_header():
    who = callers(BASE, Issuer())
    assert await who.user_of({}) == "developer"
    assert await who.user_of({"x-agui-user": "ann"}) == "ann"


async def test_in_development_a_release_check_is_not_the_developer():
    """Its conversations would stand in the list of the person who looks at the page."""
    who = callers(BASE, Issuer())
    assert await who.user_of({"x-agui-synthetic": "smoke"}) == "smoke"
    assert await who.user_of({"x-agui-synthetic": "smoke", "x-agui-user": "ann"}) == "ann"

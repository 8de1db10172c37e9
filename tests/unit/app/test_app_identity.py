"""Who is asking: only a token of the right issuer, for this audience, in time and signed by a known key says so."""

from __future__ import annotations

import time

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from agui_app.http.identity import CHECK_HEADER, IAP_HEADER, Callers
from agui_app.http.keys import IdentityUnavailable, Unauthenticated
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
    return Callers(read_settings(env).access, httpx.MockTransport(issuer))


async def user_of(who: Callers, headers, subprotocols=()) -> str:
    return (await who.caller_of(headers, subprotocols)).user_id


def token(key=KEY, alg="ES256", **claims) -> str:
    base = {"iss": "https://issuer.example", "aud": "shop", "sub": "ann", "exp": int(time.time()) + 60}
    return jwt.encode({"alg": alg, "kid": key.kid}, {**base, **claims}, key)


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


async def test_a_good_token_names_the_user_and_keys_are_kept():
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await user_of(who, bearer(token())) == "ann"
    assert await user_of(who, bearer(token(sub="bob"))) == "bob"
    assert issuer.asked == 1


async def test_a_browsers_socket_brings_its_token_as_subprotocol():
    who = callers(OIDC, Issuer(KEY))
    assert await user_of(who, {}, ("agui", f"bearer.{token()}")) == "ann"


async def test_iap_reads_its_own_header_and_nothing_else():
    who = callers(IAP, Issuer(KEY))
    good = token(iss="https://cloud.google.com/iap", sub="accounts.google.com:7")
    assert await user_of(who, {IAP_HEADER: good}) == "accounts.google.com:7"
    with pytest.raises(Unauthenticated):
        await user_of(who, bearer(good))


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
        await user_of(callers(OIDC, Issuer(KEY)), headers)


async def test_an_unsigned_token_is_refused():
    head, body, _ = token().split(".")
    none = "eyJhbGciOiJub25lIn0"
    for forged in (f"{none}.{body}.", f"{head}.{body}."):
        with pytest.raises(Unauthenticated):
            await user_of(callers(OIDC, Issuer(KEY)), bearer(forged))


async def test_a_rotated_key_is_found_without_a_restart(monkeypatch):
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await user_of(who, bearer(token())) == "ann"
    issuer.keys.append(NEXT_KEY)
    fresh = token(NEXT_KEY, "RS256")
    with pytest.raises(Unauthenticated):  # asked a moment ago: a stream of forged tokens must not flood the issuer
        await user_of(who, bearer(fresh))
    later = time.monotonic() + 120
    monkeypatch.setattr("agui_app.http.keys.time.monotonic", lambda: later)
    assert await user_of(who, bearer(fresh)) == "ann"
    assert issuer.asked == 2


async def test_known_keys_outlive_the_issuer_but_nobody_is_believed_without_any(monkeypatch):
    issuer = Issuer(KEY)
    who = callers(OIDC, issuer)
    assert await user_of(who, bearer(token())) == "ann"
    issuer.down = True
    later = time.monotonic() + 7200
    monkeypatch.setattr("agui_app.http.keys.time.monotonic", lambda: later)
    assert await user_of(who, bearer(token())) == "ann"
    with pytest.raises(IdentityUnavailable):
        await user_of(callers(OIDC, issuer), bearer(token()))


async def test_development_believes_a_header():
    who = callers(BASE, Issuer())
    assert await user_of(who, {}) == "developer"
    assert await user_of(who, {"x-agui-user": "ann"}) == "ann"


async def test_in_development_a_release_check_is_not_the_developer():
    """Its conversations would stand in the list of the person who looks at the page."""
    who = callers(BASE, Issuer())
    assert await user_of(who, {"x-agui-synthetic": "smoke"}) == "smoke"
    assert await user_of(who, {"x-agui-synthetic": "smoke", "x-agui-user": "ann"}) == "ann"


CHECKS = OIDC | {
    "AGUI_CHECK_ACCOUNTS": "operator@ops.iam.gserviceaccount.com",
    "AGUI_CHECK_AUDIENCE": "https://shop.example",
    "AGUI_CHECK_CUSTOMER": "acme-hotels",
}
OPERATOR = {
    "iss": "https://accounts.google.com",
    "aud": "https://shop.example",
    "sub": "123",
    "email": "operator@ops.iam.gserviceaccount.com",
    "email_verified": True,
}


def check_token(**claims) -> dict[str, str]:
    return {CHECK_HEADER: f"Bearer {token(NEXT_KEY, 'RS256', **(OPERATOR | claims))}"}


@pytest.mark.parametrize("login", [CHECKS, CHECKS | {"AGUI_IDENTITY": "iap"}])
async def test_release_checks_log_in_with_a_token_of_their_service_account(login):
    caller = await callers(login, Issuer(NEXT_KEY)).caller_of(check_token() | {"x-agui-synthetic": "smoke"})
    assert (caller.user_id, caller.customer, caller.is_check) == ("smoke", "acme-hotels", True)


@pytest.mark.parametrize(
    "headers",
    [
        check_token(email="other@ops.iam.gserviceaccount.com"),
        check_token(email_verified=False),
        check_token(email_verified="true"),
        check_token(email=None),
        check_token(aud="https://other.example"),
        check_token(aud="shop"),
        check_token(iss="https://issuer.example"),
        check_token(exp=1),
        {CHECK_HEADER: "Bearer "},
        {CHECK_HEADER: ""},
        {CHECK_HEADER: check_token()[CHECK_HEADER].removeprefix("Bearer ")},
    ],
)
async def test_nobody_else_passes_for_a_release_check(headers):
    with pytest.raises(Unauthenticated):
        await callers(CHECKS, Issuer(KEY, NEXT_KEY)).caller_of(headers)


async def test_a_token_for_checks_is_no_users_token_and_the_other_way_round():
    who = callers(CHECKS, Issuer(KEY, NEXT_KEY))
    with pytest.raises(Unauthenticated):
        await who.caller_of({"authorization": check_token()[CHECK_HEADER]})
    with pytest.raises(Unauthenticated):
        await who.caller_of({CHECK_HEADER: f"Bearer {token()}"})


@pytest.mark.parametrize("subject", ["smoke", "a\0b", "a\nb", "\u202eann", "a\u200bb"])
async def test_subjects_that_cannot_be_users_are_refused(subject):
    with pytest.raises(Unauthenticated):
        await callers(OIDC, Issuer(KEY)).caller_of(bearer(token(sub=subject)))


async def test_the_customer_comes_from_the_token_alone():
    who = callers(OIDC | {"AGUI_CUSTOMER_CLAIM": "customer"}, Issuer(KEY))
    forged = {"x-agui-customer": "acme-hotels"}
    assert (await who.caller_of(bearer(token(customer="c-7")) | forged)).customer == "c-7"
    assert (await who.caller_of(bearer(token()) | forged)).customer == ""
    assert (await who.caller_of(bearer(token(customer=["c-7"])) | forged)).customer == ""
    assert (await callers(OIDC, Issuer(KEY)).caller_of(bearer(token()) | forged)).customer == "ann"

"""The metadata server of a virtual machine or a Cloud Run instance, as far as Google's clients ask it who they are.

Clients find it with GCE_METADATA_HOST (and GCE_METADATA_IP for their first look) set to localgcp's host and port.
Source: https://cloud.google.com/compute/docs/metadata/querying-metadata
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from localgcp.kit.call import Call
from localgcp.kit.errors import not_found
from localgcp.kit.interfaces import ACCESS_TOKENS
from localgcp.kit.rest import RestRoute, json_response
from localgcp.services.metadata.access_tokens import LIFETIME_SECONDS

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
_ACCOUNTS = "instance/service-accounts"
_KEY_ID = "localgcp"


def routes(cloud: Cloud) -> list[RestRoute]:
    metadata = Metadata(cloud)
    return [
        RestRoute("GET", "/", "metadata.root", metadata.root, legacy_errors=False),
        RestRoute("GET", "/computeMetadata/v1/{path:.*}", "metadata.get", metadata.get, legacy_errors=False),
        RestRoute("GET", "/oauth2/v1/certs", "oauth2.certs", metadata.certificates, legacy_errors=False),
        RestRoute("GET", "/oauth2/v3/certs", "oauth2.keys", metadata.keys, legacy_errors=False),
    ]


class Metadata:
    def __init__(self, cloud: Cloud) -> None:
        settings = cloud.settings
        self._tokens = cloud.part(ACCESS_TOKENS)
        self._project, self._region = settings.project, settings.region
        self._number = settings.project_number
        self._email = settings.metadata_email or f"runtime@{settings.project}.iam.gserviceaccount.com"
        self._key: rsa.RSAPrivateKey | None = None

    async def root(self, request: web.Request, call: Call) -> web.Response:
        """What clients look at to learn whether they are on Google Cloud."""
        if not _asked_properly(request):
            raise not_found("Method not found: GET /")
        return _text("computeMetadata/\n")

    async def get(self, request: web.Request, call: Call) -> web.Response:
        if not _asked_properly(request):
            message = 'Missing required header "Metadata-Flavor": "Google"\n'
            return web.Response(status=403, text=message, headers=_FLAVOR)
        path = request.match_info["path"].strip("/")
        if path.startswith(_ACCOUNTS):
            return self._account(path.removeprefix(_ACCOUNTS).strip("/"), request.query)
        values = {
            "project/project-id": self._project,
            "project/numeric-project-id": str(self._number),
            "instance/region": f"projects/{self._number}/regions/{self._region}",
            "instance/zone": f"projects/{self._number}/zones/{self._region}-1",
            "universe/universe-domain": "googleapis.com",
        }
        return _text(values[path]) if path in values else _missing()

    async def certificates(self, request: web.Request, call: Call) -> web.Response:
        """Public keys of identity tokens, by key id, PEM: what `google.oauth2.id_token` reads as its certs_url."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = self._signing_key().public_key().public_bytes(serialization.Encoding.PEM, form)
        return json_response({_KEY_ID: public.decode()})

    async def keys(self, request: web.Request, call: Call) -> web.Response:
        """The same as a JSON Web Key Set."""
        numbers = self._signing_key().public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": _KEY_ID}
        return json_response({"keys": [key | {"n": _base64url(numbers.n), "e": _base64url(numbers.e)}]})

    def _account(self, path: str, query: Mapping[str, str]) -> web.Response:
        """Below service-accounts/. `default` is the configured account; any e-mail is an account of its own, as
        localgcp has no list of accounts."""
        recursive = query.get("recursive", "").lower() == "true"
        name, _, leaf = path.partition("/")
        if not name:
            shown = {known: self._described(self._email) for known in ("default", self._email)}
            return json_response(shown, headers=_FLAVOR) if recursive else _text(f"default/\n{self._email}/\n")
        if name != "default" and "@" not in name:
            return _missing()
        email = self._email if name == "default" else name
        match leaf:
            case "" if recursive:
                return json_response(self._described(email), headers=_FLAVOR)
            case "":
                return _text("aliases\nemail\nidentity\nscopes\ntoken\n")
            case "email":
                return _text(email)
            case "scopes":
                return _text("".join(f"{scope}\n" for scope in _SCOPES))
            case "token":
                answer = {"access_token": self._tokens.issue(email), "expires_in": int(LIFETIME_SECONDS)}
                return json_response({**answer, "token_type": "Bearer"}, headers=_FLAVOR)
            case "identity":
                return self._identity(email, query.get("audience", ""))
        return _missing()

    def _described(self, email: str) -> dict[str, Any]:
        return {"aliases": ["default"], "email": email, "scopes": list(_SCOPES)}

    def _identity(self, email: str, audience: str) -> web.Response:
        """An OpenID Connect token, signed with a key of this localgcp."""
        if not audience:
            return web.Response(status=400, text="non-empty audience parameter required\n", headers=_FLAVOR)
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "sub": email,
            "azp": email,
            "email": email,
            "email_verified": True,
            "iat": now,
            "exp": now + int(LIFETIME_SECONDS),
        }
        form = serialization.PrivateFormat.TraditionalOpenSSL
        private = self._signing_key().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        signer = crypt.RSASigner.from_string(private, _KEY_ID)
        return _text(jwt.encode(signer, claims).decode())

    def _signing_key(self) -> rsa.RSAPrivateKey:
        if self._key is None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._key


def _asked_properly(request: web.Request) -> bool:
    """The header keeps a browser or a proxied request from reading tokens; Google refuses forwarded ones too."""
    return request.headers.get("Metadata-Flavor") == "Google" and "X-Forwarded-For" not in request.headers


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _text(body: str) -> web.Response:
    return web.Response(text=body, content_type="application/text", headers=_FLAVOR)


def _missing() -> web.Response:
    return web.Response(status=404, text="Not Found\n", headers=_FLAVOR)

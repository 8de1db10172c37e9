"""Access tokens that this cloud gave out: whose each is and until when. In memory only, as a token is worth a password.

Source: https://cloud.google.com/compute/docs/access/authenticate-workloads
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

LIFETIME_SECONDS = 3600.0
_SERVICE_ACCOUNT_SUFFIX = ".gserviceaccount.com"


def create_access_tokens(cloud: Cloud) -> AccessTokens:
    return AccessTokens()


def database_role(email: str) -> str:
    """The PostgreSQL role of an IAM principal: a service account's e-mail loses its `.gserviceaccount.com`.
    https://cloud.google.com/sql/docs/postgres/iam-logins"""
    return email.removesuffix(_SERVICE_ACCOUNT_SUFFIX)


@dataclass(frozen=True, slots=True)
class Grant:
    """Whom a token stands for; `expires` in seconds of the Unix epoch."""

    email: str
    expires: float


class AccessTokens:
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

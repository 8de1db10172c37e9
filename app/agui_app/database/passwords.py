"""The database password, and how it changes without a restart.

On Cloud Run a password usually comes as an environment variable of the release (DB_PASSWORD); then a rotation is a
release. With DB_PASSWORD_SECRET the instance reads Secret Manager itself: at its first connection, and again when the
database refuses the password that it has. Old connections live on meanwhile.

API: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import httpx

from agui_app.settings import DatabaseSettings
from agui_app.telemetry.logs import log

if TYPE_CHECKING:
    from agui_app.database.cloudsql import CloudSql

logger = logging.getLogger("agui_app.passwords")
GOOGLE = "https://secretmanager.googleapis.com"
_READ_AGAIN_SECONDS = 2.0  # a wrong password must not become a storm of reads
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class PasswordUnavailable(OSError):
    """Secret Manager gave no password; the message names the secret and the status, never a value. An OSError, because
    callers treat it as a database that cannot be reached."""


def read_secret(name: str, endpoint: str = "") -> str:
    """The value of `projects/*/secrets/*/versions/*`. Raises PasswordUnavailable.

    `endpoint` is a Secret Manager without TLS or credentials; empty: Google's, with Application Default Credentials.
    """
    try:
        headers = {} if endpoint else _credentials()
        answer = httpx.get(f"{endpoint or GOOGLE}/v1/{name}:access", headers=headers, timeout=10)
        answer.raise_for_status()
        return base64.b64decode(answer.json()["payload"]["data"]).decode()
    except httpx.HTTPStatusError as exc:
        raise PasswordUnavailable(f"secret {name}: HTTP {exc.response.status_code}") from None
    except (httpx.HTTPError, ValueError, KeyError) as exc:
        raise PasswordUnavailable(f"secret {name}: {type(exc).__name__}") from None


def _credentials() -> dict[str, str]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(Request())
    except GoogleAuthError as exc:
        raise PasswordUnavailable(f"no credentials: {type(exc).__name__}") from None
    return {"Authorization": f"Bearer {credentials.token}"}


def current_password(settings: DatabaseSettings) -> str:
    """The password to connect with now: the secret's value when one is named. Raises PasswordUnavailable."""
    if settings.password_secret:
        return read_secret(settings.password_secret, settings.secret_endpoint)
    return settings.password


class Connector:
    """Makes the application's connections; all of them share one password."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._password: str | None = None if settings.password_secret else settings.password
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._cloud_sql: CloudSql | None = None

    async def connect(self, application_name: str = "agui-app") -> asyncpg.Connection[Any]:
        """A new connection; a refused password is read again once. Raises asyncpg's errors, OSError, TimeoutError."""
        used = self._password if self._password is not None else await self._read(None)
        try:
            return await self._open(used, application_name)
        except asyncpg.InvalidPasswordError:
            if not self._settings.password_secret:
                raise
            return await self._open(await self._read(used), application_name)

    async def _read(self, refused: str | None) -> str:
        """Another password than the refused one, if there is one by now."""
        async with self._reading:
            if self._password is not None and self._password != refused:
                return self._password  # another connection has just read it
            if self._password is not None and time.monotonic() - self._read_at < _READ_AGAIN_SECONDS:
                return self._password
            fresh = await asyncio.to_thread(current_password, self._settings)
            self._read_at = time.monotonic()
            if self._password is not None and fresh != self._password:
                log(logger, logging.INFO, "password_rotated", secret=self._settings.password_secret)
            self._password = fresh
            return fresh

    async def close(self) -> None:
        """Ends what makes connections; those that are open live on."""
        if self._cloud_sql is not None:
            await self._cloud_sql.close()

    async def _open(self, password: str, application_name: str) -> asyncpg.Connection[Any]:
        settings = self._settings
        if settings.instance:
            if self._cloud_sql is None:
                from agui_app.database.cloudsql import CloudSql

                self._cloud_sql = CloudSql(settings)
            return await self._cloud_sql.connect(password, application_name)
        return await asyncpg.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=password or None,
            database=settings.name,
            ssl=settings.sslmode or None,
            timeout=5,
            server_settings={"application_name": application_name},
        )

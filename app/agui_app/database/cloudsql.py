"""Connections to a Cloud SQL instance by its name (DB_INSTANCE), through Google's connector: mutual TLS with
certificates that it renews, no network path to prepare, and a login with an IAM token where that is asked for.

The connector costs a third of a second to import and is imported with the first connection, so that who connects by
socket or URL does not pay for it. Certificates are renewed when a connection needs one and not in the background: an
instance without requests may have no CPU.
API: https://cloud.google.com/sql/docs/postgres/connect-connectors
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import asyncpg  # type: ignore[import-untyped]

from agui_app.settings import DatabaseSettings

_SCOPE = "https://www.googleapis.com/auth/sqlservice.admin"
_CONNECT_SECONDS = 15.0  # two API calls, a key, TLS and the login


class InstanceUnavailable(OSError):
    """The instance of DB_INSTANCE gave no connection; the message names it and the reason. An OSError, because callers
    treat it as a database that cannot be reached."""


class CloudSql:
    """The way to one instance for connections of the running loop."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._making = asyncio.Lock()
        self._connector: Any = None

    async def connect(self, password: str, application_name: str) -> asyncpg.Connection[Any]:
        """A new connection. Raises InstanceUnavailable, TimeoutError, asyncpg's errors."""
        settings = self._settings
        async with asyncio.timeout(_CONNECT_SECONDS):
            async with self._making:
                if self._connector is None:
                    options = await asyncio.to_thread(_options, settings)
                    self._connector = _connector(options, loop=asyncio.get_running_loop())
            login = {} if settings.iam else {"password": password or None}
            with _named(settings):
                return await self._connector.connect_async(
                    settings.instance,
                    "asyncpg",
                    user=settings.user,
                    db=settings.name,
                    timeout=5,
                    server_settings={"application_name": application_name},
                    **login,
                )

    async def close(self) -> None:
        """Ends what the connector keeps; open connections live on."""
        if self._connector is not None:
            await self._connector.close_async()
            self._connector = None


class SyncCloudSql:
    """The same for psycopg: the connector brings a loop in a thread and a socket of its own for each connection."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        with _named(settings):
            self._connector = _connector(_options(settings))

    def connect(self, password: str, timeout_seconds: int) -> Any:
        """A new psycopg connection. Raises InstanceUnavailable, psycopg's errors."""
        settings = self._settings
        login = {} if settings.iam else {"password": password or None}
        with _named(settings):
            return self._connector.connect(
                settings.instance, "psycopg", user=settings.user, db=settings.name, timeout=timeout_seconds, **login
            )

    def close(self) -> None:
        self._connector.close()


def _options(settings: DatabaseSettings) -> dict[str, Any]:
    """What a connector is made with; looks for credentials, which may ask the metadata server. Raises
    InstanceUnavailable. A local Cloud SQL checks no token unless it is to log in with it."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.credentials import Credentials

    options: dict[str, Any] = {"enable_iam_auth": settings.iam, "ip_type": settings.ip_type, "refresh_strategy": "LAZY"}
    if settings.sqladmin_endpoint:
        options["sqladmin_api_endpoint"] = settings.sqladmin_endpoint
    if settings.sqladmin_endpoint and not settings.iam:
        return options | {"credentials": Credentials("anonymous")}
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except GoogleAuthError as exc:
        raise InstanceUnavailable(f"DB_INSTANCE {settings.instance}: no credentials ({type(exc).__name__})") from None
    return options | {"credentials": credentials}


def _connector(options: dict[str, Any], **more: Any) -> Any:
    from google.cloud.sql.connector import Connector

    return Connector(**options, **more)


@contextmanager
def _named(settings: DatabaseSettings) -> Iterator[None]:
    """What the connector and the API say, as one sentence that names the setting to look at."""
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.sql.connector.exceptions import CloudSQLConnectionError, CloudSQLIPTypeError

    try:
        yield
    except aiohttp.ClientResponseError as exc:
        reason = f"the Cloud SQL Admin API answers {exc.status}: {exc.message}"
    except aiohttp.ClientError as exc:
        reason = f"the Cloud SQL Admin API cannot be reached ({type(exc).__name__})"
    except CloudSQLIPTypeError:
        reason = f"the instance has no address of the kind that DB_IP_TYPE={settings.ip_type} asks for"
    except GoogleAuthError as exc:
        reason = f"no credentials ({type(exc).__name__})"
    except (CloudSQLConnectionError, ValueError) as exc:  # among them: another region than the name says
        reason = " ".join(str(exc).split())[:300] or type(exc).__name__
    else:
        return
    raise InstanceUnavailable(f"DB_INSTANCE {settings.instance}: {reason}")

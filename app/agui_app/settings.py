"""What the environment says, read once and checked before anything else starts.

Every setting of the application is here, so that a wrong value fails the start with one sentence that names the
variable. The module imports nothing heavy: the process must answer `/healthz` before SQLAlchemy or ADK is loaded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agui_app.access import Access, Connections, read_access, read_connections, wants_development
from agui_app.environment import SettingsError, file, integer, seconds, switch, words

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where PostgreSQL is. `host` may be a directory that holds its unix socket, as `/cloudsql/proj:region:inst`."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(default="", repr=False)
    sslmode: str = ""
    password_secret: str = ""  # projects/*/secrets/*/versions/*: read at the first connection and after a rotation
    secret_endpoint: str = ""  # a Secret Manager without TLS; empty: Google's
    instance: str = ""  # project:region:instance of Cloud SQL, reached through Google's connector instead of `host`
    iam: bool = False  # log in with a token of the process's own identity, as the IAM user `user`
    ip_type: str = "PUBLIC"  # of the instance's addresses: PUBLIC, PRIVATE, PSC
    sqladmin_endpoint: str = ""  # a Cloud SQL Admin API without TLS; empty: Google's


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may use. Sizes in bytes, times in seconds."""

    body_bytes: int = 262_144
    messages_per_thread: int = 200
    runs_per_user: int = 8
    concurrent_runs: int = 80
    run_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Channels:
    """What a client may send to the agents besides text: tools of its own by name, media types of inline content."""

    client_tools: tuple[str, ...] = ()
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sockets:
    """WebSocket timing, seconds. Cloud Run cuts a socket at the request timeout (60 min at most): we ask first."""

    ping_seconds: float = 15.0
    reconnect_after_seconds: float = 3300.0


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Where metrics and traces go. `exporters` may hold `otlp` (to OTEL_EXPORTER_OTLP_ENDPOINT) and `gcp` (Monitoring
    and Telemetry API of `project`); empty: nothing is exported. `endpoint` is a Monitoring API without TLS,
    `trace_endpoint` a Telemetry API (OTLP) without sign-in."""

    exporters: tuple[str, ...] = ()
    interval_seconds: float = 60.0
    project: str = ""
    region: str = ""
    endpoint: str = ""
    trace_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Cloud Run's contract: PORT, K_SERVICE, K_REVISION, K_CONFIGURATION
    (https://cloud.google.com/run/docs/container-contract)."""

    database: DatabaseSettings
    port: int = 8080
    host: str = "0.0.0.0"
    service: str = ""
    revision: str = ""
    configuration: str = ""
    release: str = ""
    version: str = "dev"
    model: str = "offline/script"
    script: Path = PACKAGE / "data" / "script.yaml"
    guardrails: Path = PACKAGE / "data" / "guardrails.yaml"
    classifier: str = ""  # module:factory, see agents/injection.py
    migrations: Path = PACKAGE.parent.parent / "migrations"
    schema_head: str = "head"
    extensions: tuple[str, ...] = ()
    access: Access = field(default_factory=Access)
    connections: Connections = field(default_factory=Connections)
    limits: Limits = Limits()
    channels: Channels = Channels()
    sockets: Sockets = Sockets()
    telemetry: TelemetrySettings = TelemetrySettings()
    pool_size: int = 10
    log_level: str = "INFO"
    event_retention_seconds: int = 86_400


def migrations_folder(env: Mapping[str, str] | None = None) -> Path:
    """Folder with `env.py` and `versions/`: AGUI_MIGRATIONS, else beside the application, else packaged in it.

    Raises SettingsError when none of them exists.
    """
    env = os.environ if env is None else env
    if env.get("AGUI_MIGRATIONS"):
        candidates = [Path(env["AGUI_MIGRATIONS"])]
    else:
        candidates = [PACKAGE.parent.parent / "migrations", PACKAGE / "migrations", Path.cwd() / "migrations"]
    for folder in candidates:
        if (folder / "versions").is_dir():
            return folder
    raise SettingsError(f"AGUI_MIGRATIONS: no migrations in {', '.join(map(str, candidates))}")


def database_settings(env: Mapping[str, str] | None = None) -> DatabaseSettings:
    """Database settings from DATABASE_URL, from DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, or from DB_INSTANCE.

    Raises SettingsError, which never repeats the URL or the password.
    """
    env = os.environ if env is None else env
    if env.get("DB_INSTANCE") or env.get("DB_IAM_AUTH"):
        return _from_instance(env)
    if env.get("DATABASE_URL"):
        name, endpoint = _secret(env)
        return replace(_from_url(env["DATABASE_URL"]), password_secret=name, secret_endpoint=endpoint)
    missing = [name for name in ("DB_HOST", "DB_NAME", "DB_USER") if not env.get(name)]
    if missing:
        raise SettingsError(
            f"set DATABASE_URL, or DB_HOST (or DB_INSTANCE), DB_NAME and DB_USER; missing: {', '.join(missing)}"
        )
    return DatabaseSettings(
        host=env["DB_HOST"],
        port=integer(env, "DB_PORT", 5432, most=65535),
        name=env["DB_NAME"],
        user=env["DB_USER"],
        password=env.get("DB_PASSWORD", ""),
        sslmode=env.get("DB_SSLMODE", ""),
        password_secret=_secret(env)[0],
        secret_endpoint=_secret(env)[1],
    )


def _from_instance(env: Mapping[str, str]) -> DatabaseSettings:
    """A Cloud SQL instance by its connection name (https://cloud.google.com/sql/docs/postgres/connect-connectors)."""
    instance, iam = env.get("DB_INSTANCE", ""), switch(env, "DB_IAM_AUTH")
    if not instance:
        if iam:
            raise SettingsError("DB_IAM_AUTH needs DB_INSTANCE: only Google's connector brings the token")
        return database_settings({key: value for key, value in env.items() if key != "DB_IAM_AUTH"})
    if other := next((name for name in ("DATABASE_URL", "DB_HOST") if env.get(name)), ""):
        raise SettingsError(f"set DB_INSTANCE or {other}, not both")
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]+", instance):
        raise SettingsError(f"DB_INSTANCE must look like project:region:instance, not {instance!r}")
    if missing := [name for name in ("DB_NAME", "DB_USER") if not env.get(name)]:
        raise SettingsError(f"DB_INSTANCE needs {' and '.join(missing)}")
    name, secret_endpoint = _secret(env)
    if iam and (name or env.get("DB_PASSWORD")):
        raise SettingsError("DB_IAM_AUTH logs in with a token: unset DB_PASSWORD and DB_PASSWORD_SECRET")
    ip_type = env.get("DB_IP_TYPE", "public").upper()
    if ip_type not in ("PUBLIC", "PRIVATE", "PSC"):
        raise SettingsError(f"DB_IP_TYPE must be public, private or psc, not {env['DB_IP_TYPE']!r}")
    return DatabaseSettings(
        host="",
        port=5432,
        name=env["DB_NAME"],
        user=env["DB_USER"],
        password=env.get("DB_PASSWORD", ""),
        password_secret=name,
        secret_endpoint=secret_endpoint,
        instance=instance,
        iam=iam,
        ip_type=ip_type,
        sqladmin_endpoint=env.get("AGUI_SQLADMIN_ENDPOINT", "").rstrip("/"),
    )


def _secret(env: Mapping[str, str]) -> tuple[str, str]:
    name = env.get("DB_PASSWORD_SECRET", "")
    if name and not re.fullmatch(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+", name):
        raise SettingsError("DB_PASSWORD_SECRET must look like projects/PROJECT/secrets/NAME/versions/latest")
    return name, env.get("AGUI_SECRETMANAGER_ENDPOINT", "")


def _from_url(url: str) -> DatabaseSettings:
    from urllib.parse import parse_qs, unquote, urlsplit

    try:
        parts = urlsplit(url)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        host = query.get("host") or unquote(parts.hostname or "")
        port = parts.port or int(query.get("port", "5432"))
    except ValueError:
        raise SettingsError("DATABASE_URL is not a URL: postgresql://user:password@host:5432/name") from None
    name = unquote(parts.path.lstrip("/"))
    if not parts.scheme.startswith("postgres") or not host or not name:
        raise SettingsError("DATABASE_URL must look like postgresql://user:password@host:5432/name")
    return DatabaseSettings(
        host=host,
        port=port,
        name=name,
        user=unquote(parts.username or "") or query.get("user", "postgres"),
        password=unquote(parts.password or "") or query.get("password", ""),
        sslmode=query.get("sslmode", ""),
    )


def read_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from `env` (default: the process environment). Raises SettingsError."""
    env = os.environ if env is None else env
    level = env.get("LOG_LEVEL", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"LOG_LEVEL must be debug, info, warning or error, not {level!r}")
    # where everybody is believed, strangers cannot connect unless somebody asks for it
    host = env.get("HOST", "") or ("127.0.0.1" if wants_development(env) else "0.0.0.0")
    return Settings(
        database=database_settings(env),
        port=integer(env, "PORT", 8080, most=65535),
        host=host,
        service=env.get("K_SERVICE", ""),
        revision=env.get("K_REVISION", ""),
        configuration=env.get("K_CONFIGURATION", ""),
        release=env.get("AGUI_RELEASE", ""),
        version=env.get("AGUI_VERSION", "dev"),
        model=env.get("MODEL", "offline/script"),
        script=file(env, "AGUI_SCRIPT", PACKAGE / "data" / "script.yaml"),
        guardrails=file(env, "AGUI_GUARDRAILS", PACKAGE / "data" / "guardrails.yaml"),
        classifier=env.get("AGUI_CLASSIFIER", ""),
        migrations=migrations_folder(env),
        schema_head=env.get("AGUI_SCHEMA_HEAD", "head"),
        extensions=words(env, "AGUI_EXTENSIONS"),
        access=read_access(env, host),
        connections=read_connections(env),
        limits=_limits(env),
        channels=_channels(env),
        sockets=Sockets(
            ping_seconds=seconds(env, "AGUI_WS_PING_SECONDS", 15.0),
            reconnect_after_seconds=seconds(env, "AGUI_WS_RECONNECT_AFTER_SECONDS", 3300.0),
        ),
        telemetry=_telemetry(env),
        pool_size=integer(env, "DB_POOL_SIZE", 10, most=200),
        log_level=level,
        event_retention_seconds=integer(env, "AGUI_EVENT_RETENTION_SECONDS", 86_400),
    )


def _limits(env: Mapping[str, str]) -> Limits:
    base = Limits()
    return Limits(
        body_bytes=integer(env, "AGUI_MAX_BODY_BYTES", base.body_bytes),
        messages_per_thread=integer(env, "AGUI_MAX_MESSAGES_PER_THREAD", base.messages_per_thread),
        runs_per_user=integer(env, "AGUI_MAX_RUNS_PER_USER", base.runs_per_user),
        concurrent_runs=integer(env, "AGUI_MAX_CONCURRENT_RUNS", base.concurrent_runs),
        run_seconds=integer(env, "AGUI_RUN_SECONDS", base.run_seconds),
    )


def _channels(env: Mapping[str, str]) -> Channels:
    media = words(env, "AGUI_ACCEPTED_MEDIA")
    if wrong := [kind for kind in media if not re.fullmatch(r"(image|audio|video)/[\w.+-]+", kind)]:
        raise SettingsError(
            f"AGUI_ACCEPTED_MEDIA may hold types of image, audio and video, not {', '.join(wrong)}:"
            " the guardrails do not see text inside of documents"
        )
    return Channels(client_tools=words(env, "AGUI_CLIENT_TOOLS"), media=media)


def _telemetry(env: Mapping[str, str]) -> TelemetrySettings:
    exporters = words(env, "AGUI_TELEMETRY")
    if unknown := [name for name in exporters if name not in ("otlp", "gcp")]:
        raise SettingsError(f"AGUI_TELEMETRY may hold otlp and gcp, not {', '.join(unknown)}")
    project = env.get("GOOGLE_CLOUD_PROJECT", "")
    if "gcp" in exporters and not project:
        raise SettingsError("AGUI_TELEMETRY=gcp needs GOOGLE_CLOUD_PROJECT")
    return TelemetrySettings(
        exporters=exporters,
        interval_seconds=seconds(env, "AGUI_TELEMETRY_INTERVAL_SECONDS", 60.0),
        project=project,
        region=env.get("GOOGLE_CLOUD_REGION", ""),
        endpoint=env.get("AGUI_MONITORING_ENDPOINT", ""),
        trace_endpoint=env.get("AGUI_TRACE_ENDPOINT", "").rstrip("/"),
    )


def describe_failure(exc: BaseException) -> str:
    """One JSON line for Cloud Logging that says why the process cannot start. The platform may show it to people who
    see no logs, hence the words of others are left to the trace before it."""
    ours = type(exc).__module__.startswith("agui_app.")
    message = str(exc) if ours else f"the application cannot start: {type(exc).__name__}"
    return json.dumps({"severity": "ERROR", "event": "start_failed", "message": message})

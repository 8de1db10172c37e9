"""Settings of who may connect: the kind of login, the hosts and origins, and the identity of release checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from agui_app.environment import SettingsError, integer, seconds, words

Identity = Literal["development", "iap", "oidc"]
IDENTITIES: tuple[Identity, ...] = ("development", "iap", "oidc")
GOOGLE_ISSUER = "https://accounts.google.com"
GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
LOCAL_CLOUD = "localgcp"
DEVELOPMENT_CUSTOMER = "acme-hotels"  # owns the orders of the seeds that examples and release checks name


@dataclass(frozen=True, slots=True)
class Checks:
    """The machine identity of release checks: an ID token of Google for one of `audiences` and one of the service
    accounts `accounts`. `customer` owns the orders that checks may see."""

    accounts: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    customer: str = ""
    issuer: str = GOOGLE_ISSUER
    keys_url: str = GOOGLE_KEYS


@dataclass(frozen=True, slots=True)
class Connections:
    """How long a connection may take. `request_seconds` bounds the headers of a request and, once more, its body;
    `stalled_seconds` how long a client may leave an answer unread. `idle` is the most connections without a request."""

    request_seconds: float = 20.0
    stalled_seconds: float = 60.0
    idle: int = 1000


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect. `customer_claim` is the claim of a user's token that names the owner of orders; `approvers` are
    the users who may answer for others where a rule demands another person."""

    identity: Identity = "development"
    audience: str = ""
    issuer: str = ""
    keys_url: str = ""
    customer_claim: str = "sub"
    development_customer: str = DEVELOPMENT_CUSTOMER
    checks: Checks = Checks()
    approvers: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()


def read_access(env: Mapping[str, str], host: str) -> Access:
    """From the environment and the address that the process will listen on. Raises SettingsError."""
    return Access(
        identity=identity_of(env, host),
        audience=env.get("AGUI_IDENTITY_AUDIENCE", ""),
        issuer=env.get("AGUI_IDENTITY_ISSUER", ""),
        keys_url=env.get("AGUI_IDENTITY_KEYS_URL", ""),
        customer_claim=env.get("AGUI_CUSTOMER_CLAIM", "") or "sub",
        development_customer=env.get("AGUI_DEVELOPMENT_CUSTOMER", "") or DEVELOPMENT_CUSTOMER,
        checks=_checks(env),
        approvers=words(env, "AGUI_APPROVERS"),
        allowed_origins=words(env, "AGUI_ALLOWED_ORIGINS"),
        allowed_hosts=words(env, "AGUI_ALLOWED_HOSTS"),
    )


def read_connections(env: Mapping[str, str]) -> Connections:
    """From the environment. Raises SettingsError."""
    base = Connections()
    return Connections(
        request_seconds=seconds(env, "AGUI_REQUEST_SECONDS", base.request_seconds),
        stalled_seconds=seconds(env, "AGUI_STALLED_SECONDS", base.stalled_seconds),
        idle=integer(env, "AGUI_MAX_IDLE_CONNECTIONS", base.idle),
    )


def wants_development(env: Mapping[str, str]) -> bool:
    """Whether this environment asks for the login that believes everybody."""
    return (env.get("AGUI_IDENTITY", "").strip() or "development") == "development"


def identity_of(env: Mapping[str, str], host: str) -> Identity:
    """The kind of login. Raises SettingsError, also for `development` where strangers can connect."""
    value = env.get("AGUI_IDENTITY", "").strip()
    local_cloud = env.get("AGUI_LOCAL_CLOUD", "").strip()
    if local_cloud not in ("", LOCAL_CLOUD):
        raise SettingsError(f"AGUI_LOCAL_CLOUD must be {LOCAL_CLOUD} or unset, not {local_cloud!r}")
    if not value and env.get("K_SERVICE"):
        raise SettingsError("AGUI_IDENTITY must be set on Cloud Run: iap or oidc")
    chosen = next((identity for identity in IDENTITIES if identity == (value or "development")), None)
    if chosen is None:
        raise SettingsError(f"AGUI_IDENTITY must be one of {', '.join(IDENTITIES)}, not {value!r}")
    if chosen == "development":
        _refuse_strangers(env, host, bool(local_cloud))
    needed = {"iap": ("AGUI_IDENTITY_AUDIENCE",), "oidc": ("AGUI_IDENTITY_AUDIENCE", "AGUI_IDENTITY_ISSUER")}
    if missing := [name for name in needed.get(chosen, ()) if not env.get(name)]:
        raise SettingsError(f"AGUI_IDENTITY={chosen} needs {' and '.join(missing)}")
    return chosen


def _refuse_strangers(env: Mapping[str, str], host: str, local_cloud: bool) -> None:
    if env.get("K_SERVICE") and not local_cloud:
        raise SettingsError(
            "AGUI_IDENTITY=development believes every caller and does not start on Cloud Run; set iap or oidc"
        )
    if not _is_loopback(host):
        raise SettingsError(
            f"AGUI_IDENTITY=development believes every caller and listens on this machine only; HOST is {host!r}:"
            " set HOST=127.0.0.1, or set AGUI_IDENTITY to iap or oidc"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checks(env: Mapping[str, str]) -> Checks:
    accounts, audiences = words(env, "AGUI_CHECK_ACCOUNTS"), words(env, "AGUI_CHECK_AUDIENCE")
    if bool(accounts) != bool(audiences):
        raise SettingsError("AGUI_CHECK_ACCOUNTS and AGUI_CHECK_AUDIENCE are set together or not at all")
    return Checks(
        accounts=accounts,
        audiences=audiences,
        customer=env.get("AGUI_CHECK_CUSTOMER", ""),
        issuer=env.get("AGUI_CHECK_ISSUER", "") or GOOGLE_ISSUER,
        keys_url=env.get("AGUI_CHECK_KEYS_URL", "") or GOOGLE_KEYS,
    )

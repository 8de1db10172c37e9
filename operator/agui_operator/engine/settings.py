"""Settings of the operator process. Real Google Cloud and localgcp differ in one of them: the endpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agui_operator.checks.arrival import PROPAGATION


class SettingInvalid(Exception):
    """A setting has a value that can't be used; the message names the variable and what it accepts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All times in seconds."""

    endpoint: str | None = None  # None: real Google Cloud, with Application Default Credentials
    metadata_server: bool = False  # beside localgcp (GCE_METADATA_HOST): checks log in with ID tokens of it
    resync: float = 300.0  # how often a resting object is looked at for drift
    retention: float = 3600.0  # how often a resting object is looked at for what earlier releases left behind
    lease_name: str = "agui-operator"
    lease_namespace: str = "agui-system"
    concurrent_turns: int = 64  # turns of different objects at once; the others wait
    lease_seconds: float = 10.0
    identity: str = "agui-operator"
    require_lease: bool = True
    http_port: int = 8080  # /healthz, /metrics; 0 picks a free port
    http_host: str = "127.0.0.1"
    propagation: float = PROPAGATION  # in which an answer of another release means that a change has not arrived yet
    permission_grace: float = 60.0  # between the withdrawal of a permission and the roll-back of a running rollout
    namespaces: tuple[str, ...] = ()  # empty: all
    cluster_id: str = ""  # part of the owner label; empty: the uid of the namespace kube-system
    dashboard_port: int | None = None  # None: no dashboard; 0 picks a free port
    dashboard_host: str = "127.0.0.1"  # it has no login of its own: behind the loopback, kubectl port-forward is one
    dashboard_names: tuple[str, ...] = ()  # names that it answers to, beside those of the loopback

    @property
    def local(self) -> bool:
        """True where the cloud is localgcp: loopback addresses may then be checked."""
        return self.endpoint is not None

    @property
    def has_identity(self) -> bool:
        """Whether ID tokens can be had: on Google Cloud, and of a metadata server that stands in for it."""
        return not self.local or self.metadata_server


_PREFIX = "AGUI_"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CLUSTER_ID = re.compile(r"[a-z0-9_-]{0,63}")
_YEAR = 366 * 86400.0


def from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """Reads AGUI_GCP_ENDPOINT, AGUI_RESYNC_SECONDS, AGUI_RETENTION_SECONDS, AGUI_PROPAGATION_SECONDS,
    AGUI_PERMISSION_GRACE_SECONDS, AGUI_CONCURRENT_TURNS, AGUI_LEASE_NAME, AGUI_LEASE_NAMESPACE, AGUI_LEASE_SECONDS,
    AGUI_LEASE_HOLDER, AGUI_REQUIRE_LEASE, AGUI_HTTP_HOST, AGUI_HTTP_PORT, AGUI_NAMESPACES (comma separated),
    AGUI_CLUSTER_ID, AGUI_DASHBOARD_PORT, AGUI_DASHBOARD_HOST, AGUI_DASHBOARD_NAMES (comma separated), and whether
    GCE_METADATA_HOST is set. Raises SettingInvalid."""
    env = os.environ if env is None else env
    base = Settings()
    return Settings(
        endpoint=_endpoint(env.get("AGUI_GCP_ENDPOINT") or None),
        metadata_server=bool(env.get("GCE_METADATA_HOST")),
        resync=_number(env, "RESYNC_SECONDS", base.resync),
        retention=_number(env, "RETENTION_SECONDS", base.retention),
        concurrent_turns=int(_number(env, "CONCURRENT_TURNS", base.concurrent_turns, least=1, most=10000)),
        lease_name=env.get("AGUI_LEASE_NAME", base.lease_name),
        lease_namespace=env.get("AGUI_LEASE_NAMESPACE", base.lease_namespace),
        lease_seconds=_number(env, "LEASE_SECONDS", base.lease_seconds),
        identity=env.get("AGUI_LEASE_HOLDER") or env.get("HOSTNAME") or base.identity,
        require_lease=_flag(env, "REQUIRE_LEASE", base.require_lease),
        http_port=int(_number(env, "HTTP_PORT", base.http_port, least=0, most=65535)),
        http_host=env.get("AGUI_HTTP_HOST", base.http_host),
        propagation=_number(env, "PROPAGATION_SECONDS", base.propagation, least=0, most=3600),
        permission_grace=_number(env, "PERMISSION_GRACE_SECONDS", base.permission_grace, least=0),
        namespaces=_namespaces(env),
        cluster_id=_cluster_id(env),
        dashboard_port=_optional_port(env, "DASHBOARD_PORT"),
        dashboard_host=env.get("AGUI_DASHBOARD_HOST") or base.dashboard_host,
        dashboard_names=tuple(name.lower() for name in _words(env, "DASHBOARD_NAMES")),
    )


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in env.get(_PREFIX + name, "").split(",") if word.strip())


def _namespaces(env: Mapping[str, str]) -> tuple[str, ...]:
    """Exact names: patterns would need the right to list the namespaces of the cluster."""
    names = _words(env, "NAMESPACES")
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise SettingInvalid(f"AGUI_NAMESPACES must be names of namespaces, separated by commas, got {name!r}")
    return names


def _cluster_id(env: Mapping[str, str]) -> str:
    """It becomes the value of a label."""
    raw = env.get(_PREFIX + "CLUSTER_ID", "")
    if not _CLUSTER_ID.fullmatch(raw):
        raise SettingInvalid(
            f"AGUI_CLUSTER_ID must have at most 63 lower-case letters, digits, - and _, got {raw!r}; "
            "unset it to use the uid of the namespace kube-system"
        )
    return raw


def _optional_port(env: Mapping[str, str], name: str) -> int | None:
    raw = env.get(_PREFIX + name)
    return int(_number(env, name, 0, least=0, most=65535)) if raw else None


def _endpoint(raw: str | None) -> str | None:
    if raw is None:
        return None
    if not raw.startswith("http://") or raw.count(":") < 2:
        raise SettingInvalid(
            f"AGUI_GCP_ENDPOINT must look like http://host:port, got {raw!r}; unset it for Google Cloud"
        )
    return raw.rstrip("/")


def _number(env: Mapping[str, str], name: str, default: float, least: float = 0.1, most: float = _YEAR) -> float:
    raw = env.get(_PREFIX + name)
    if raw is None or raw == "":
        return default
    try:
        value = float(raw)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SettingInvalid(f"{_PREFIX}{name} must be a number from {least:g} to {most:.0f}, got {raw!r}")
    return value


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    raw = env.get(_PREFIX + name)
    if raw is None or raw == "":
        return default
    if raw.lower() not in ("true", "false", "1", "0"):
        raise SettingInvalid(f"{_PREFIX}{name} must be true or false, got {raw!r}")
    return raw.lower() in ("true", "1")

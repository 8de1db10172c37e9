"""Start and end of the process: login, kopf's own settings, the runtime."""

from __future__ import annotations

import base64
import logging
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kopf
import yaml

from agui_operator.engine.cluster.kube import Connection
from agui_operator.engine.settings import Settings
from agui_operator.handlers import runtime as runtimes
from agui_operator.handlers.health import Health

logger = logging.getLogger(__name__)


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return log_in(kwargs["settings"])


def log_in(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    """The pod's ServiceAccount, else the kubeconfig that KUBECONFIG or the home folder names."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


def user_login() -> kopf.ConnectionInfo:
    """The login of whoever runs a command. Raises ConnectionError, whose message says what to set."""
    try:
        info = log_in(kopf.OperatorSettings())
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, kopf.LoginError) as exc:
        raise ConnectionError(f"no way to log in to Kubernetes: {exc}; correct KUBECONFIG") from exc
    if info is None:
        raise ConnectionError("no way to log in to Kubernetes: set KUBECONFIG")
    return info


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    ours: Settings = memo.settings
    health: Health = memo.health
    configure(settings, ours.namespaces)
    info = log_in(settings)
    if info is None:
        raise kopf.PermanentError("no way to log in to Kubernetes: set KUBECONFIG or run in a pod")
    memo.runtime = await runtimes.build(ours, connection_of(info), memo.stop.set, memo.feed)
    health.kube, health.lease = memo.runtime.control, memo.runtime.lease
    health.ready = True
    where = ours.endpoint or "Google Cloud"
    logger.info("agui-operator started: releases go to %s", where)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    health: Health = memo.health
    health.ready = False
    memo.closing.set()
    if "runtime" in memo:
        await memo.runtime.close()


class NoDiffBase(kopf.DiffBaseStorage):
    """Stores no last handled configuration. kopf needs one to tell what changed for its create and update handlers,
    and there are none: the daemon compares with the status. Deletion is told by its timestamp."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return kopf.BodyEssence()

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def configure(settings: kopf.OperatorSettings, namespaces: Sequence[str] = ()) -> None:
    """kopf's settings. Nothing is kept on the object beyond what deletion needs. With a list of namespaces kopf would
    watch all namespaces of the cluster for ones that match: the list is exact, so that right is not needed."""
    settings.scanning.disabled = bool(namespaces)
    settings.persistence.finalizer = "operator.agui.dev/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="operator.agui.dev", v1=False)
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.posting.enabled = False  # the engine posts one Event per fact itself
    settings.networking.connect_timeout = 5
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.execution.max_workers = 4


def connection_of(info: kopf.ConnectionInfo) -> Connection:
    """kopf's login as the engine's own client needs it."""
    context: ssl.SSLContext | None = None
    if info.server.startswith("https"):
        ca_data = info.ca_data.decode() if isinstance(info.ca_data, bytes) else info.ca_data
        ca_path = str(info.ca_path) if info.ca_path else None
        context = ssl.create_default_context(cafile=ca_path, cadata=_pem(ca_data))
        if info.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _load_certificate(context, info)
    return Connection(server=info.server, headers=info.as_http_headers(), ssl=context)


def _pem(data: str | None) -> str | None:
    if not data or "BEGIN" in data:
        return data
    return base64.b64decode(data).decode()


def _load_certificate(context: ssl.SSLContext, info: kopf.ConnectionInfo) -> None:
    """The client certificate; the ssl module reads files only, so inline data passes through a private folder."""
    if info.certificate_path:
        context.load_cert_chain(str(info.certificate_path), str(info.private_key_path))
    elif info.certificate_data and info.private_key_data:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            for path, data in ((certificate, info.certificate_data), (key, info.private_key_data)):
                path.touch(mode=0o600)
                path.write_text(_pem(data.decode() if isinstance(data, bytes) else data) or "")
            context.load_cert_chain(str(certificate), str(key))

"""Reads and writes kubeconfig files (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/)."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """The file can't be used; the message names the file, the field and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How to reach an API server and whom to believe: `ca_pem` is None where the system's own authorities decide."""

    server: str
    ca_pem: bytes | None
    insecure: bool = False


def read_cluster(kubeconfig: Path) -> Cluster:
    """The cluster of the current context. Raises KubeconfigError."""
    try:
        document = yaml.safe_load(kubeconfig.read_text())
    except OSError as error:
        raise KubeconfigError(f"{kubeconfig} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{kubeconfig} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(document, dict):
        raise KubeconfigError(f"{kubeconfig} is not a kubeconfig: it holds no mapping (is it empty?).")
    name = document.get("current-context")
    if not name:
        raise KubeconfigError(f"{kubeconfig} has no current-context; choose one with `kubectl config use-context`.")
    context = _named(kubeconfig, document, "contexts", "context", name)
    cluster = _named(kubeconfig, document, "clusters", "cluster", context.get("cluster"))
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise KubeconfigError(
            f"{kubeconfig}: the cluster of context {name!r} has no usable `server` (found {server!r})."
        )
    return Cluster(server, _authority(kubeconfig, cluster), cluster.get("insecure-skip-tls-verify") is True)


def _named(kubeconfig: Path, document: Mapping[str, Any], section: str, field: str, name: object) -> Mapping[str, Any]:
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(field), dict):
            found: Mapping[str, Any] = entry[field]
            return found
    raise KubeconfigError(f"{kubeconfig} names the {field} {name!r}, and its `{section}` have none of that name.")


def _authority(kubeconfig: Path, cluster: Mapping[str, Any]) -> bytes | None:
    try:
        if data := cluster.get("certificate-authority-data"):
            return base64.b64decode(data, validate=True)
        if file := cluster.get("certificate-authority"):
            # Relative paths in a kubeconfig are relative to the file that holds them.
            return (kubeconfig.parent / str(file)).read_bytes()
    except (binascii.Error, ValueError) as error:
        raise KubeconfigError(f"{kubeconfig}: certificate-authority-data is not base64: {error}.") from error
    except OSError as error:
        raise KubeconfigError(f"{kubeconfig}: certificate-authority can't be read: {error}.") from error
    return None


def certificate_user(certificate: bytes, key: bytes) -> dict[str, str]:
    """The `user` entry of somebody who shows a client certificate (PEM)."""
    return {"client-certificate-data": _text(certificate), "client-key-data": _text(key)}


def write_kubeconfig(target: Path, cluster: Cluster, user: Mapping[str, str], namespace: str = "default") -> Path:
    """Write a kubeconfig, complete in itself and readable by its owner alone; returns `target`."""
    entry: dict[str, Any] = {"server": cluster.server}
    if cluster.ca_pem is not None:
        entry["certificate-authority-data"] = _text(cluster.ca_pem)
    if cluster.insecure:
        entry["insecure-skip-tls-verify"] = True
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "agui", "cluster": entry}],
        "users": [{"name": "agui", "user": dict(user)}],
        "contexts": [{"name": "agui", "context": {"cluster": "agui", "user": "agui", "namespace": namespace}}],
        "current-context": "agui",
    }
    # Written beside and moved: a reader never sees half a file.
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    scratch.replace(target)
    return target


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""Where secret payloads are kept: one file per version that only its owner may read. Nothing else ever holds them.

Runs of containers ask here for the values of their environment (`interfaces.SECRETS`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import secretmanager_v1

from localgcp.kit.errors import failed_precondition, not_found
from localgcp.kit.service import Slot

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

Secret: Any = secretmanager_v1.Secret.pb()
SecretVersion: Any = secretmanager_v1.SecretVersion.pb()
ENABLED, DISABLED, DESTROYED = (
    int(secretmanager_v1.SecretVersion.State[name]) for name in ("ENABLED", "DISABLED", "DESTROYED")
)


class Secrets:
    """Implements `interfaces.SecretPayloads`. Records are named by project id ("demo/db-password", versions
    "demo/db-password/000001"); the API's names carry the project's number, as Google's do."""

    def __init__(self, cloud: Cloud) -> None:
        self._settings, self._records = cloud.settings, cloud.store
        self.secrets = cloud.store.protos("secrets", Secret)
        self.versions = cloud.store.protos("secrets.versions", SecretVersion)
        self._root = cloud.settings.state_dir / "secrets"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open(self) -> None:
        """Removes payloads that no enabled or disabled version has: a killed localgcp may leave some."""
        kept = {self._file(key) for key, version in self.versions.items() if version.state != DESTROYED}
        for path in self._root.iterdir():
            if path not in kept:
                path.unlink()

    def delete(self, key: str) -> None:
        """Removes a secret, its versions and their payloads."""
        versions = [name for name, _ in self.versions.items(f"{key}/")]
        with self._records.transaction():
            for name in versions:
                self.versions.delete(name)
            self.secrets.delete(key)
        for name in versions:
            self.remove_payload(name)

    def reset(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir(mode=0o700)

    def payload(self, project: str, secret: str, version: str = "latest") -> bytes:
        """The bytes of a version (number, alias or "latest"). Raises ApiError NOT_FOUND, FAILED_PRECONDITION when it
        is not enabled."""
        key, found = self.version(f"{self._settings.project_id(project)}/{secret}", version)
        return self.read(key, found)

    def read(self, key: str, version: Any) -> bytes:
        if version.state != ENABLED:
            state = secretmanager_v1.SecretVersion.State(version.state).name
            raise failed_precondition(f"Secret Version [{version.name}] is in {state} state.")
        return self._file(key).read_bytes()

    def secret(self, key: str) -> Any:
        found = self.secrets.get(key)
        if found is None:
            project, _, name = key.partition("/")
            raise not_found(f"Secret [projects/{self._settings.number_of(project)}/secrets/{name}] not found.")
        return found

    def version(self, key: str, version: str) -> tuple[str, Any]:
        """Key and record of a version of the secret `key`; "latest" is the newest one, in whatever state it is."""
        secret = self.secret(key)
        if version == "latest":
            newest = self.numbers(key)
            version = str(newest[-1]) if newest else "latest"
        elif version in secret.version_aliases:
            version = str(secret.version_aliases[version])
        full = f"{key}/{version:0>6}"
        found = self.versions.get(full) if version.isdigit() else None
        if found is None:
            raise not_found(f"Secret Version [{secret.name}/versions/{version}] not found.")
        return full, found

    def numbers(self, key: str) -> list[int]:
        """Numbers of all versions, oldest first."""
        return [int(name.rpartition("/")[2]) for name, _ in self.versions.items(f"{key}/")]

    def write_payload(self, key: str, payload: bytes) -> None:
        path = self._file(key)
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
        new.replace(path)

    def remove_payload(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._root / hashlib.sha256(key.encode()).hexdigest()


STORE: Slot[Secrets] = Slot("secretmanager.store")

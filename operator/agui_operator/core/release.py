"""What one release is: everything that a rollback must be able to name again.

Two ids. The *artifact id* hashes what was built (image digests, bundle digest, schema target) and is the same in every
environment. The *release id* adds what the environment resolved (configuration, secret versions) and whose it is, and
names revisions and jobs: releases of two deployments have different ids, whatever their specs. The *fingerprint*
(core/fingerprint.py) hashes the part of the spec that a release is made from, before anything is resolved: it tells a
new release from an edit of the rollout's strategy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.core.fingerprint import fingerprint_of
from agui_operator.core.names import digest_of

_DIGEST = "@sha256:"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What names that can move (tags, `latest`) pointed at when this release was resolved."""

    image: str  # repository@sha256:...
    migration_image: str | None
    secrets: Mapping[str, str]  # environment variable -> version number
    bundle_sha256: str | None


@dataclass(frozen=True, slots=True)
class Release:
    id: str
    artifact: str
    fingerprint: str
    version: str
    image: str
    migration_image: str | None = None
    migration_target: str | None = None
    frontend: str | None = None  # release folder of the assets; None: no frontend
    bundle: str = ""  # what the folder was made from, `object@sha256:digest`; empty: not recorded
    secrets: Mapping[str, str] = field(default_factory=dict)
    schema: str | None = None  # schema head that the running code reported
    requires: str | None = None  # schema that its code needs, as it reported
    alerts: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""  # of its revision, as JSON (core/templates.py); empty: not known

    @property
    def source(self) -> tuple[str, str] | None:
        """Object and digest of the bundle that its page was made from; None: it has no page, or its record, which an
        earlier version wrote or somebody changed, does not say."""
        name, _, sha256 = self.bundle.rpartition(_DIGEST)
        return (name, sha256) if name and self.frontend == frontend_id(sha256) else None

    @property
    def record(self) -> str:
        """What is kept on the revision: enough to know the release again when the status is lost. The same as long as
        the revision is the same."""
        known = {key: value for key, value in self.to_status().items() if key not in ("schema", "requires")}
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_record(text: str) -> Release | None:
        """The release of a record, or None if there is none or it can't be read."""
        try:
            raw = json.loads(text)
        except ValueError:
            return None
        return Release.from_status(raw) if isinstance(raw, Mapping) else None

    def to_status(self) -> dict[str, Any]:
        """JSON for `.status`; only references, never a secret's value."""
        keys = {
            "id": self.id,
            "artifact": self.artifact,
            "fingerprint": self.fingerprint,
            "version": self.version,
            "backend": self.image,
            "migrations": self.migration_image,
            "target": self.migration_target,
            "frontend": self.frontend,
            "bundle": self.bundle or None,
            "schema": self.schema,
            "requires": self.requires,
            "secrets": dict(self.secrets) or None,
            "alerts": dict(self.alerts) or None,
            "template": self.template or None,
        }
        return {k: v for k, v in keys.items() if v is not None}

    @staticmethod
    def from_status(raw: Mapping[str, Any] | None) -> Release | None:
        """The release that `to_status` wrote, or None if the record is absent or was damaged by hand."""
        if not isinstance(raw, Mapping) or not raw.get("id") or not raw.get("backend"):
            return None
        return Release(
            id=str(raw["id"]),
            artifact=str(raw.get("artifact", "")),
            fingerprint=str(raw.get("fingerprint", "")),
            version=str(raw.get("version", "")),
            image=str(raw["backend"]),
            migration_image=_text(raw.get("migrations")),
            migration_target=_text(raw.get("target")),
            frontend=_text(raw.get("frontend")),
            bundle=_text(raw.get("bundle")) or "",
            schema=_text(raw.get("schema")),
            requires=_text(raw.get("requires")),
            secrets={k: str(v) for k, v in _map(raw.get("secrets")).items()},
            alerts=dict(_map(raw.get("alerts"))),
            template=_text(raw.get("template")) or "",
        )


def _text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) else None


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def frontend_id(bundle_sha256: str) -> str:
    """Release folder of a bundle: same bytes, same folder, so that publishing again uploads nothing."""
    return bundle_sha256[:12]


def bundle_of(spec: AgUiDeploymentSpec) -> str:
    """The bundle of a spec as a release records it; empty: no frontend."""
    bundle = spec.frontend.bundle if spec.frontend is not None else None
    return f"{bundle.object}{_DIGEST}{bundle.sha256}" if bundle is not None else ""


def make_release(spec: AgUiDeploymentSpec, resolved: Resolved, owner: str) -> Release:
    """Computes both ids from the spec and what it resolved to. `owner`: the owner label of the deployment. Ids that an
    earlier version computed without it stay as they are recorded; none of them is computed again."""
    fingerprint = fingerprint_of(spec)
    target = spec.migrations.target if spec.migrations else None
    artifact = digest_of([resolved.image, resolved.migration_image, resolved.bundle_sha256, target], 12)
    release = digest_of([owner, fingerprint, asdict(resolved)], 10)
    return Release(
        id=release,
        artifact=artifact,
        fingerprint=fingerprint,
        version=spec.version or release,
        image=resolved.image,
        migration_image=resolved.migration_image,
        migration_target=target,
        frontend=frontend_id(resolved.bundle_sha256) if resolved.bundle_sha256 else None,
        bundle=bundle_of(spec),
        secrets=dict(resolved.secrets),
        alerts=spec.alerts.model_dump(mode="json", exclude_none=True) if spec.alerts else {},
    )

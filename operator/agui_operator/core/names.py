"""Every name that the operator gives to a cloud object is a pure function of who owns it and of the release.

That is what makes creating idempotent: after a crash the same name is computed again. The owner is namespace and name
in a cluster, not the uid of the object: it is the same when the object is made again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_SERVICE_MAX = 30  # so that the tag `r-<release id>` fits beside it into the 46 characters that Cloud Run allows
_HASH = 8
_MARK = 10  # characters of base32: 50 bits
_OWNER = 32  # hex digits
_VALUE_MAX = 63  # of a label

OWNER_LABEL = "agui-owner"
NAMESPACE_LABEL, NAME_LABEL, CLUSTER_LABEL = "agui-namespace", "agui-name", "agui-cluster"
RELEASE_LABEL = "agui-release"
RECORD_ANNOTATION = "agui.dev/release"  # of a revision: the record of its release
RELEASE_HEADER = "x-agui-release"  # a request that carries a candidate's id meets the candidate's page


def digest_of(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@lru_cache(maxsize=4096)  # the same few names are asked for at every look
def bounded(text: str, limit: int) -> str:
    """`text` as a DNS label of at most `limit` characters; a hash keeps shortened ones distinct."""
    label = _label(text)
    if len(label) <= limit and label == text:
        return label
    keep = limit - _HASH - 1
    return f"{label[:keep].rstrip('-')}-{digest_of(text, _HASH)}"


@lru_cache(4096)
def service_name(namespace: str, name: str) -> str:
    """Name of a deployment's Cloud Run service. A hash of namespace and name is always part of it, so that no two
    deployments of a cluster share it, however their names concatenate."""
    mark = base64.b32encode(hashlib.sha256(f"{namespace}/{name}".encode()).digest()).decode().lower()[:_MARK]
    return f"{_label(f'{namespace}-{name}')[: _SERVICE_MAX - _MARK - 1].rstrip('-')}-{mark}"


@lru_cache(4096)
def old_service_name(namespace: str, name: str) -> str:
    """The same as earlier versions gave it: two deployments could share it. Existing services keep it."""
    return bounded(f"{namespace}-{name}", _SERVICE_MAX)


@lru_cache(4096)
def owner_of(cluster: str, namespace: str, name: str) -> str:
    """Whom a cloud object belongs to: a deployment of a cluster. It survives that the object is made again."""
    return digest_of([cluster, namespace, name], _OWNER)


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one deployment's cloud objects. `uid` is the Kubernetes uid, `cluster` the identity of the cluster,
    `kept` the name of a service that existed before its name was computed as it is now."""

    namespace: str
    name: str
    uid: str
    project: str
    region: str
    cluster: str = ""
    kept: str = ""

    @property
    def owner(self) -> str:
        """The value of the owner's label on everything owned."""
        return owner_of(self.cluster, self.namespace, self.name)

    @property
    def owners(self) -> tuple[str, str]:
        """Both values that mean this deployment: earlier versions wrote the uid."""
        return self.owner, self.uid

    def owns(self, label: str) -> bool:
        return bool(label) and label in self.owners

    @property
    def labels(self) -> dict[str, str]:
        """Of Cloud Run services, revisions and jobs; those after the first are for people."""
        return {
            OWNER_LABEL: self.owner,
            NAMESPACE_LABEL: _value(self.namespace),
            NAME_LABEL: _value(self.name),
            CLUSTER_LABEL: _value(self.cluster),
        }

    @property
    def service(self) -> str:
        return self.kept or service_name(self.namespace, self.name)

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def service_path(self) -> str:
        return f"{self.parent}/services/{self.service}"

    def revision(self, release: str) -> str:
        return f"{self.service}-{release}"

    def tag(self, release: str) -> str:
        """Tag of the revision's own URL. Cloud Run allows tag and service name 46 characters together."""
        return f"r-{release}"

    def migration_job(self, release: str) -> str:
        return f"{self.service}-m-{release}"

    def is_migration(self, job: str) -> bool:
        """True for the migration job of any release of this deployment."""
        return job.startswith(f"{self.service}-m-")

    def check_job(self, release: str, check: str) -> str:
        return f"{self.service}-c-{digest_of([release, check], 8)}"

    def job_path(self, job: str) -> str:
        return f"{self.parent}/jobs/{job}"

    @property
    def path_matcher(self) -> str:
        """Name of the URL map's path matcher that is ours."""
        return bounded(f"agui-{self.service}", 60)

    def backup_description(self, release: str) -> str:
        return f"agui {self.owner} {release}"

    def is_backup(self, description: str, wanted: str) -> bool:
        """True if a backup has the description that is wanted, or the one that an older version gave it."""
        return description in (wanted, wanted.replace(self.owner, self.uid))


def _label(text: str) -> str:
    """`text` with the characters of a DNS label, beginning with a letter."""
    label = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    return label if label[:1].isalpha() else f"x-{label}".strip("-")


def _value(text: str) -> str:
    """`text` as the value of a label in Google Cloud."""
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower())[:_VALUE_MAX]

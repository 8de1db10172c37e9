"""Every name that the operator gives to a cloud object is a pure function of who owns it and of the release.

That is what makes creating idempotent: after a crash the same name is computed again, and what
is found under it is ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

_SERVICE_MAX = 30  # so that the tag `r-<release id>` fits beside it into the 46 characters that Cloud Run allows
_HASH = 8

OWNER_LABEL = "agui-owner"
RELEASE_LABEL = "agui-release"
RECORD_ANNOTATION = "agui.dev/release"  # of a revision: the record of its release
RELEASE_HEADER = "x-agui-release"  # a request that carries a candidate's id meets the candidate's page


def digest_of(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def bounded(text: str, limit: int) -> str:
    """`text` as a DNS label of at most `limit` characters; a hash keeps shortened ones distinct."""
    label = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    if not label or not label[0].isalpha():
        label = f"x-{label}".strip("-")
    if len(label) <= limit and label == text:
        return label
    keep = limit - _HASH - 1
    return f"{label[:keep].rstrip('-')}-{digest_of(text, _HASH)}"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one deployment's cloud objects. `uid` is the Kubernetes uid, written as a label on everything owned."""

    namespace: str
    name: str
    uid: str
    project: str
    region: str

    @property
    def service(self) -> str:
        return bounded(f"{self.namespace}-{self.name}", _SERVICE_MAX)

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

    def check_job(self, release: str, check: str) -> str:
        return f"{self.service}-c-{digest_of([release, check], 8)}"

    def job_path(self, job: str) -> str:
        return f"{self.parent}/jobs/{job}"

    @property
    def path_matcher(self) -> str:
        """Name of the URL map's path matcher that is ours."""
        return bounded(f"agui-{self.service}", 60)

    def backup_description(self, release: str) -> str:
        return f"agui {self.uid} {release}"

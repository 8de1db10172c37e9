"""Binary Authorization of services and jobs: what may be set, and which images it lets start.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#binaryauthorization
"""

from __future__ import annotations

import re
from typing import Any

from localgcp.kit.errors import failed_precondition, invalid
from localgcp.kit.interfaces import Image
from localgcp.kit.settings import Settings

_POLICY = re.compile(r"projects/[a-z][-a-z0-9:.]*/platforms/cloudRun/[a-z]([-a-z0-9]*[a-z0-9])?")


def check_setting(wanted: Any) -> None:
    """Raises ApiError INVALID_ARGUMENT."""
    where = "binary_authorization"
    if wanted.policy and not _POLICY.fullmatch(wanted.policy):
        raise invalid(f"{where}.policy must be projects/PROJECT/platforms/cloudRun/POLICY", f"{where}.policy")
    if wanted.breakglass_justification and not (wanted.use_default or wanted.policy):
        message = f"{where}.breakglass_justification needs use_default or a policy"
        raise invalid(message, f"{where}.breakglass_justification")


def check_image(settings: Settings, wanted: Any, image: Image) -> None:
    """Raises ApiError FAILED_PRECONDITION for an image without an attestation where one is asked for."""
    if not (wanted.use_default or wanted.policy) or wanted.breakglass_justification or not settings.attested:
        return
    name = f"{image.repository}@{image.digest}"
    if image.repository in settings.attested or name in settings.attested:
        return
    policy = wanted.policy or f"projects/{settings.project}/policy"
    raise failed_precondition(
        f"Container image '{name}' is not authorized by policy. Image {name} denied by {policy}: "
        "no attestations found that were valid and signed by a key trusted by the attestor"
    )

"""Cloud Run's codes in words: what a message says by default, where Cloud Run's own text may quote a container.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#condition
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "CANCELLED": "it was cancelled",
    "CONTAINER_IMAGE_AUTHORIZATION_CHECK_FAILED": "Binary Authorization could not be asked about the image",
    "CONTAINER_IMAGE_UNAUTHORIZED": "Binary Authorization does not permit the image",
    "CONTAINER_MISSING": "the image does not exist",
    "CONTAINER_PERMISSION_DENIED": "Cloud Run may not read the image",
    "DELETED": "it was deleted",
    "ENCRYPTION_KEY_CHECK_FAILED": "the encryption key could not be looked at",
    "ENCRYPTION_KEY_PERMISSION_DENIED": "Cloud Run may not use the encryption key",
    "HEALTH_CHECK_CONTAINER_ERROR": "the container did not start, or did not answer its startup probe, in time",
    "INTERNAL": "Cloud Run had an internal error",
    "JOB_STATUS_SERVICE_POLLING_ERROR": "Cloud Run could not look at the execution",
    "MIN_INSTANCES_NOT_PROVISIONED": "its minimum of instances did not start",
    "ACTIVE_REVISION_LIMIT_REACHED": "the project has too many active revisions",
    "NON_ZERO_EXIT_CODE": "the container exited with an error",
    "PROGRESS_DEADLINE_EXCEEDED": "it did not become ready in time",
    "REVISION_FAILED": "the container did not start, or a part of its configuration can't be used",
    "SECRETS_ACCESS_CHECK_FAILED": "its identity can't read one of its secrets",
    "VPC_NETWORK_NOT_FOUND": "its VPC network does not exist",
}


def explained(reason: str, said: str, log: str) -> str:
    """Code, message and log as one sentence. A `reason` that is no code is a sentence of ours."""
    text = REASONS.get(reason, reason or "Cloud Run gave no reason that is known here")
    text = f"{text} ({reason})" if reason in REASONS else text
    text = f"{text}: {said}" if said else text
    return f"{text} ({log})" if log else text

"""Names of Cloud Run's resources: what is well formed, and how lists are cut into pages."""

from __future__ import annotations

import re
from typing import Any

from localgcp.kit.errors import invalid
from localgcp.kit.paging import Limits
from localgcp.kit.settings import Settings

_PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]|[a-z][a-z0-9-]{2,28}[a-z0-9]|\d{6,}"
_LOCATION = re.compile(rf"projects/({_PROJECT})/locations/([a-z]+-[a-z]+\d+)\Z")
_ID = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?\Z")  # fewer than 50 characters
_REVISION = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_TAG = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?\Z")
_RESERVED_NAMESPACES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
_LABEL_VALUE = re.compile(r"([a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?)?\Z", re.IGNORECASE)
PAGE = Limits(default=100, largest=1000)


def location_of(name: str, settings: Settings, field: str = "parent") -> str:
    """`projects/{id}/locations/{location}` at the head of a name, with the project's id even where its number was
    given. Raises ApiError INVALID_ARGUMENT."""
    head = "/".join(name.split("/")[:4])
    if not (match := _LOCATION.match(head)):
        raise invalid(f"Invalid resource name '{name}': expected projects/{{project}}/locations/{{location}}", field)
    return f"projects/{settings.project_id(match[1])}/locations/{match[2]}"


def normal_name(name: str, settings: Settings, *collections: str) -> str:
    """A full resource name below the given collections, with the project's id. Raises ApiError INVALID_ARGUMENT."""
    location, parts = location_of(name, settings, "name"), name.split("/")[4:]
    if tuple(parts[::2]) != collections or len(parts) != 2 * len(collections) or not all(parts):
        expected = "/".join(f"{collection}/{{{collection[:-1]}}}" for collection in collections)
        raise invalid(f"Invalid resource name '{name}': expected projects/*/locations/*/{expected}", "name")
    return f"{location}/{'/'.join(parts)}"


def short(name: str) -> str:
    return name.rpartition("/")[2]


def project_and_location(name: str) -> tuple[str, str]:
    parts = name.split("/")
    return parts[1], parts[3]


def check_id(value: str, kind: str, field: str) -> None:
    if not _ID.match(value):
        raise invalid(
            f"{kind} id '{value}' is not valid: only lowercase letters, digits and hyphens, beginning with a letter, "
            "not ending with a hyphen, fewer than 50 characters",
            field,
        )


def check_revision_name(revision: str, service: str) -> None:
    if not revision.startswith(f"{service}-") or not _REVISION.match(revision):
        raise invalid(
            f"Revision name '{revision}' is not valid: it must begin with '{service}-', hold only lowercase letters, "
            "digits and hyphens, and be at most 63 characters long",
            "template.revision",
        )


def check_tag(tag: str, service: str) -> None:
    if not _TAG.match(tag):
        raise invalid(f"Traffic tag '{tag}' is not valid: lowercase letters, digits and hyphens only", "traffic.tag")
    if len(tag) + len(service) > 46:
        raise invalid(
            f"Traffic tag '{tag}' is too long: together with the service name it may have 46 characters", "traffic.tag"
        )


def check_labels(resource: Any, field: str) -> None:
    """Labels and annotations of Google's own namespaces are rejected, as the API's documentation says."""
    for kind, pairs in (("label", resource.labels), ("annotation", resource.annotations)):
        for key in pairs:
            namespace = key.partition("/")[0] if "/" in key else ""
            if namespace.endswith(_RESERVED_NAMESPACES):
                raise invalid(f"The {kind} '{key}' is in a reserved namespace", f"{field}{kind}s")
    for key, value in resource.labels.items():
        if len(key) > 63 + 254 or not key or not _LABEL_VALUE.match(value):
            raise invalid(f"The label '{key}={value}' is not valid", f"{field}labels")


def newest_first(resource: Any) -> tuple[int, str]:
    """Sorts revisions and executions by their time of creation."""
    return -resource.create_time.ToNanoseconds(), str(resource.name)

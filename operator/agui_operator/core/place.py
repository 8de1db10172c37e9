"""The place of a release: where its parts live and under which name. It belongs to the release, not to the environment
that named it: it is remembered, so that an edited or deleted environment never moves a release and never loses one.

Pure. What may change while the place stays the same (channels, the paths of the API, the domain, a part that the
environment did not have before) is renewed from the environment; anything else would be a move, which is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.environment import Edge, Place
from agui_operator.core.names import Names
from agui_operator.core.snapshot import Blocker

_FIX = (
    "change it back; to move, apply a deployment with another name in the new environment and delete this one when "
    "that one serves"
)


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """`environment`: the AgUiEnvironment that named the place. `owner`: the value of the owner label that is on
    everything there."""

    environment: str
    service: str
    owner: str
    place: Place

    @property
    def project_id(self) -> str:
        return self.place.project

    @property
    def region(self) -> str:
        return self.place.region

    def names(self, names: Names) -> Names:
        """The names of a deployment in this place."""
        return replace(names, project=self.place.project, region=self.place.region, kept=self.service)


def differences(record: PlaceRecord, now: Place) -> tuple[str, ...]:
    """What of the place the environment names differently, as `part: recorded -> now`. A part that the record does not
    have is no difference."""
    was, old, new = record.place, record.place.edge, now.edge
    pairs: list[tuple[str, str | None, str | None]] = [
        ("projectId", was.project, now.project),
        ("region", was.region, now.region),
        ("database.instance", was.sql_instance, now.sql_instance),
        ("storage.assets.bucket", was.assets_bucket, now.assets_bucket),
        ("storage.artifacts.bucket", was.artifacts_bucket, now.artifacts_bucket),
        ("edge.urlMap", old.url_map if old else None, new.url_map if new else None),
        ("edge.backendBucket", old.backend_bucket if old else None, new.backend_bucket if new else None),
        ("edge.backendService", old.backend_service if old else None, new.backend_service if new else None),
    ]
    return tuple(
        f"{part}: {before} -> {after or 'none'}" for part, before, after in pairs if before and before != after
    )


def renewed(record: PlaceRecord, environment: str, now: Place, *, at_rest: bool) -> PlaceRecord:
    """The record with what may change. In flight these are the channels alone: a rollout ends where it began."""
    if differences(record, now):
        return record
    if not at_rest:
        return replace(record, place=replace(record.place, channels=now.channels))
    return replace(record, environment=environment, place=now)


def moved(record: PlaceRecord | None, environment: str | None, now: Place | None) -> Blocker | None:
    """What refuses a move. A release that has no place yet, or whose environment is not there, is not moved."""
    found = differences(record, now) if record is not None and now is not None else ()
    if record is None or not found:
        return None
    where = f"project {record.place.project}, region {record.place.region}"
    other = "" if environment == record.environment else f" of AgUiEnvironment {record.environment}"
    text = f"this deployment lives in {where}{other} and is not moved ({'; '.join(found)})"
    return Blocker(ConditionType.ENVIRONMENT_READY, Reason.PLACE_CHANGED, text, _FIX)


def to_status(record: PlaceRecord | None) -> dict[str, Any] | None:
    """`status.place`; references only."""
    if record is None:
        return None
    place, edge = record.place, record.place.edge
    raw: dict[str, Any] = {
        "environment": record.environment,
        "project": place.project,
        "region": place.region,
        "service": record.service,
        "owner": record.owner,
        "assetsBucket": place.assets_bucket or None,
        "artifactsBucket": place.artifacts_bucket or None,
        "sqlInstance": place.sql_instance,
        "channels": dict(place.channels) or None,
    }
    if edge is not None:
        raw["edge"] = {
            "domain": edge.domain,
            "urlMap": edge.url_map,
            "backendBucket": edge.backend_bucket,
            "backendService": edge.backend_service,
            "apiPaths": list(edge.api_paths),
        }
    return {key: value for key, value in raw.items() if value is not None}


def from_status(raw: Any) -> PlaceRecord | None:
    """The record, or None when it is absent (an earlier version wrote none) or was damaged by hand: it is then found
    again by the owner label."""
    raw = _map(raw)
    project, region, service = (_text(raw.get(key)) for key in ("project", "region", "service"))
    if not project or not region or not service:
        return None
    place = Place(
        project=project,
        region=region,
        assets_bucket=_text(raw.get("assetsBucket")),
        artifacts_bucket=_text(raw.get("artifactsBucket")),
        sql_instance=_text(raw.get("sqlInstance")) or None,
        edge=_edge(_map(raw.get("edge"))),
        channels={key: str(value) for key, value in _map(raw.get("channels")).items()},
    )
    return PlaceRecord(_text(raw.get("environment")), service, _text(raw.get("owner")), place)


def _edge(raw: Mapping[str, Any]) -> Edge | None:
    paths = raw.get("apiPaths")
    domain, url_map, bucket, service = (
        _text(raw.get(key)) for key in ("domain", "urlMap", "backendBucket", "backendService")
    )
    if not domain or not url_map:
        return None
    return Edge(domain, url_map, bucket, service, tuple(map(str, paths)) if isinstance(paths, list | tuple) else ())


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else ""


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}

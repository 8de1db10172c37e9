"""Traffic of a service: what a traffic list may say, and what it means for the data plane. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localgcp.kit.errors import invalid
from localgcp.kit.interfaces import Target
from localgcp.services.run.names import check_tag
from localgcp.services.run.types import LATEST, REVISION, TrafficTargetStatus


def check_traffic(traffic: Any, service: str) -> None:
    """Raises ApiError INVALID_ARGUMENT unless percents sum to 100, tags are unique and each target is complete."""
    if not traffic:
        return
    tags: set[str] = set()
    for index, target in enumerate(traffic):
        where = f"traffic[{index}]"
        if not target.type_:
            target.type_ = REVISION if target.revision else LATEST
        if target.type_ == REVISION and not target.revision:
            raise invalid(f"{where}: a target of type REVISION needs a revision", where)
        if target.type_ == LATEST and target.revision:
            raise invalid(f"{where}: a target of type LATEST must not name a revision", where)
        if not 0 <= target.percent <= 100:
            raise invalid(f"{where}: percent must be between 0 and 100", where)
        if target.tag:
            check_tag(target.tag, service)
            if target.tag in tags:
                raise invalid(f"{where}: the tag '{target.tag}' is used twice", where)
            tags.add(target.tag)
    if (total := sum(target.percent for target in traffic)) != 100:
        raise invalid(f"Traffic percentages must sum to 100, got {total}", "traffic")


def is_latest_only(traffic: Any) -> bool:
    return not traffic or any(target.type_ == LATEST for target in traffic)


def targets(traffic: Any, latest_ready: str) -> tuple[Target, ...]:
    """The data plane's table; an empty list means 100 % to the latest ready revision. Short names."""
    if not traffic:
        return (Target(latest_ready, 100),) if latest_ready else ()
    return tuple(
        Target(latest_ready if target.type_ == LATEST else target.revision, target.percent, target.tag or None)
        for target in traffic
    )


def traffic_statuses(traffic: Any, tag_uri: Callable[[str], str]) -> list[Any]:
    """Observed traffic in the API's form: the revision of a LATEST target is not told, a tag has its own URI."""
    if not traffic:
        return [TrafficTargetStatus(type_=LATEST, percent=100)]
    return [
        TrafficTargetStatus(
            type_=target.type_,
            revision=target.revision,
            percent=target.percent,
            tag=target.tag,
            uri=tag_uri(target.tag) if target.tag else "",
        )
        for target in traffic
    ]

"""What users get at rest, compared with the release that the status calls stable."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from agui_operator.api.conditions import Reason
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.rollout import Look, Phase
from agui_operator.core.snapshot import Snapshot
from agui_operator.core.traffic import share


class Part(StrEnum):
    """What reaches users."""

    TRAFFIC = "traffic"
    PAGE = "page"


_AT_REST = frozenset({Phase.HEALTHY, Phase.ROLLED_BACK})
_FINE: Mapping[Part, str | None] = dict.fromkeys(Part)


def astray(memory: Memory, seen: Snapshot, names: Names) -> Mapping[Part, str | None]:
    """For each part that was seen: what users get instead of the stable release, None where they get it."""
    stable, found = memory.stable, dict[Part, str | None]()
    if memory.phase not in _AT_REST or stable is None:
        return _FINE
    service, revision = seen.service if seen.service_known else seen.last_service, names.revision(stable.id)
    if service is not None:
        percent = min(share(service.traffic, revision), share(service.serving, revision))
        text = f"{100 - percent} % of the traffic is not on revision {revision}"
        found[Part.TRAFFIC] = None if percent == 100 else text
    elif seen.service_known:
        found[Part.TRAFFIC] = f"Cloud Run service {names.service} does not exist"
    if not seen.has_edge:
        found[Part.PAGE] = None
    elif seen.pointer_known:
        is_shown = seen.pointer is not None and seen.pointer.frontend == stable.frontend
        if not is_shown:
            found[Part.PAGE] = "the URL map does not show the page of the stable release"
        elif Look.ASSETS not in seen.failed:
            found[Part.PAGE] = _lacking(stable, seen) if seen.assets_complete is False else None
    return found


def _lacking(stable: Release, seen: Snapshot) -> str:
    """Which files of the page are missing, and how they come back."""
    lacking, title = seen.lacking, f"release {stable.version} ({stable.id})"
    what = f"files of the page of {title} are missing in the assets bucket"
    if lacking is not None:
        one = lacking.count == 1
        files = f"1 file of the page of {title} is" if one else f"{lacking.count} files of the page of {title} are"
        what = f"{files} missing in the assets bucket: {lacking.first}{'' if one else ' and others'}"
    return f"{what}; {_remedy(stable, seen)}"


def _remedy(stable: Release, seen: Snapshot) -> str:
    source, lacking = stable.source, seen.lacking
    if source is None:
        return "its bundle is not recorded, so apply the spec of that release to publish them again"
    where = f"from gs://{seen.artifacts_bucket}/{source[0]}"
    if stable.id in seen.forbidden:
        return f"they are published again {where} when an AgUiPolicy permits the release"
    if any(blocker.reason is Reason.SUSPENDED for blocker in seen.blockers):
        return f"they are published again {where} when spec.suspend is false"
    if lacking is not None and lacking.unpublished:
        return f"publishing them again {where} failed and is retried automatically: {lacking.unpublished}"
    return f"they are published again {where}"

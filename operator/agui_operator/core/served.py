"""What users get at rest, compared with the release that the status calls stable."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.rollout import Phase
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
        found[Part.PAGE] = None if is_shown else "the URL map does not show the page of the stable release"
        if is_shown and seen.assets_complete is False:
            found[Part.PAGE] = (
                f"files of the page of release {stable.version} ({stable.id}) are missing in the assets bucket;"
                " the spec of that release publishes them again"
            )
    return found

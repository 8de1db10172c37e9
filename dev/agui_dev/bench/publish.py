"""What publishing and pointing cost, counted in the local cloud's ledger: uploads of a bundle that is there already,
writes of the URL map for one flip and for one roll-back."""

from __future__ import annotations

from typing import Any

from agui_dev.bench.figures import Figure
from agui_dev.testbed.releases import AT_ONCE, NAME, full_release
from agui_dev.testbed.system import System

_FAILS_LATE = {"name": "after", "http": {"path": "/version", "status": 418}, "attempts": 1, "at": ["promoted"]}


def figures(stage: System) -> list[Figure]:
    """Four releases of one deployment: a page, the same page again, another page, and one that is taken back. An
    operator has to be running."""
    place = stage.case()
    calls = [_released(stage, place, "v1", "v1", "Healthy")]
    calls.append(_released(stage, place, "v1", "v1", "Healthy", version="1.0.1"))
    calls.append(_released(stage, place, "v2", "v2", "Healthy"))
    calls.append(_released(stage, place, "v1", "v3", "RolledBack", version="1.0.2", smoke=[_FAILS_LATE]))
    first, again, flip, back = calls
    assert _count(first, "storage.objects.insert"), "the first release uploads its files, or nothing was measured"
    patches = _count(flip, "compute.urlMaps.patch") - 1  # one before it shows the candidate to its checks
    back_patches = _count(back, "compute.urlMaps.patch") - 2  # one shows it, one flips to it
    stage.api.delete(place, NAME)
    return [
        Figure(
            "frontend.republish_uploads",
            float(_count(again, "storage.objects.insert")),
            1,
            "calls of storage.objects.insert in a release whose bundle is unchanged",
        ),
        Figure(
            "frontend.flip_writes",
            float(max(patches, back_patches)),
            2,
            "writes of the URL map for a promotion and for a roll-back after one; the worse",
        ),
    ]


def _released(
    stage: System, place: str, tag: str, page: str, ends_in: str, *, version: str = "", **parts: Any
) -> list[dict[str, Any]]:
    """The operator's writes from the apply of a release to its end."""
    version = version or tag
    document = full_release(place, tag, page, migrations=None, strategy=AT_ONCE, version=version, **parts)
    document["spec"]["backend"]["env"] = [{"name": "NUMBER", "value": version}]
    before = stage.position
    stage.api.apply(document)
    stage.settle(place, ends_in, version=version)
    return stage.calls(before)


def _count(calls: list[dict[str, Any]], method: str) -> int:
    return sum(call["method"] == method for call in calls)

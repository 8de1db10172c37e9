"""What serves, found again in the cloud when the status does not know it: it was wiped, or restored from an older time.

Each revision keeps the record of its release. Which revision is the stable one is told by the URL map, which only the
operator points, else by the traffic.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agui_operator.core import past
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.rollout import RESTING, Phase
from agui_operator.core.snapshot import Snapshot

LOOKED_FOR_IN = RESTING | {Phase.PENDING}


def unknown_revision(memory: Memory, seen: Snapshot, names: Names) -> str | None:
    """The revision that serves users and of which the status does not tell; None where the status is right."""
    service = seen.service
    if memory.phase not in LOOKED_FOR_IN or service is None or not seen.pointer_known:
        return None
    pointed = names.revision(seen.pointer.release) if seen.pointer is not None and seen.pointer.release else None
    shares = {target.revision: target.percent for target in service.serving if target.percent > 0}
    if memory.stable is None:
        if memory.history or memory.rejected is not None or not shares or (seen.has_edge and seen.pointer is None):
            return None  # the status was not lost, or nothing is public
        if pointed in {target.revision for target in service.serving}:
            return pointed
        return max(shares, key=lambda revision: (shares[revision], revision != service.template_revision))
    known = {names.revision(memory.stable.id)}
    if memory.rejected is not None:
        known.add(names.revision(memory.rejected.release))
    return pointed if pointed is not None and shares == {pointed: 100} and pointed not in known else None


def recovered(memory: Memory, seen: Snapshot, names: Names, now: datetime) -> Memory:
    """The memory with what was found, and when: leftovers age from that moment, whichever process looks. Without an
    edge nobody can tell whether the release had passed its checks, so it is rolled out again, with itself to go back
    to."""
    found = seen.found
    if found is None or found.release is None or unknown_revision(memory, seen, names) != found.revision:
        return _with_stable(memory, now)
    release = found.release if seen.has_edge else replace(found.release, fingerprint="")
    return replace(memory, stable=release, promoted=past.found_again(memory.promoted, release, now))


def _with_stable(memory: Memory, now: datetime) -> Memory:
    """At rest the stable release is one of the promoted ones; a damaged or older status may not name it."""
    if memory.phase not in (Phase.HEALTHY, Phase.ROLLED_BACK):
        return memory
    return replace(memory, promoted=past.with_stable(memory.promoted, memory.stable, now)[: past.PROMOTED_KEPT])

"""A memory that an earlier version of the operator wrote, in the terms of this one."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.core.memory import Memory
from agui_operator.core.release import Release


def recognised(memory: Memory, legacy: str | None, fingerprint: str | None) -> Memory:
    """The memory with the fingerprint of the spec, wherever the earlier formula's hash of the same spec stands: an
    upgrade of the operator makes no new release. Other specs keep theirs until they are asked for again."""
    if legacy is None or fingerprint is None:
        return memory

    def named(release: Release | None) -> Release | None:
        if release is None or release.fingerprint != legacy:
            return release
        return replace(release, fingerprint=fingerprint)

    rejected = memory.rejected
    if rejected is not None and rejected.fingerprint == legacy:
        rejected = replace(rejected, fingerprint=fingerprint)
    return replace(
        memory,
        candidate=named(memory.candidate),
        stable=named(memory.stable),
        undo_to=named(memory.undo_to),
        rejected=rejected,
        history=tuple(replace(e, release=named(e.release) or e.release) for e in memory.history),
        promoted=tuple(replace(p, release=named(p.release) or p.release) for p in memory.promoted),
    )

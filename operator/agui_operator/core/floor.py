"""The schema floor: the oldest code that the database still supports. Expanding migrations leave it where it is; a
contract migration, which drops what older code needs, raises it.
"""

from __future__ import annotations

from agui_operator.core.memory import Memory
from agui_operator.core.release import Release


def too_old(memory: Memory, release: Release) -> str | None:
    """Why the database no longer supports the code of a release; None if it does, or if that is not known. Only
    numbered schemas have an order that can be told from their names."""
    floor, needs = memory.schema_floor, release.requires
    if floor is None or needs is None or not (floor.isdecimal() and needs.isdecimal()) or int(needs) >= int(floor):
        return None
    return f"a contract migration raised the schema floor to {floor}, while its code was built for schema {needs}"

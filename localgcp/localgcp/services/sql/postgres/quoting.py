"""Names and values in SQL scripts."""

from __future__ import annotations


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace("\0", "").replace('"', '""') + '"'


def literal(value: str) -> str:
    """`value` as a quoted SQL literal (standard_conforming_strings is on)."""
    return "'" + value.replace("\0", "").replace("'", "''") + "'"

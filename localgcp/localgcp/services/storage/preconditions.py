"""Preconditions of reads and writes of objects: ifGenerationMatch and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localgcp.kit.errors import ApiError, from_http


def precondition_failed() -> ApiError:
    message = "At least one of the pre-conditions you specified did not hold."
    return from_http(412, message, "conditionNotMet", location="If-Match")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """None: not asked. Generation 0 stands for "no such object"."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], prefix: str = "if") -> Preconditions:
        """From query parameters; `prefix` ifSource for those of a copy's source. Raises ApiError 400."""

        def number(name: str) -> int | None:
            if (text := query.get(prefix + name)) is None:
                return None
            if not text.lstrip("-").isdigit():
                raise from_http(400, f"Invalid value for {prefix}{name}: {text!r}", "invalid", location=prefix + name)
            return int(text)

        return cls(
            number("GenerationMatch"),
            number("GenerationNotMatch"),
            number("MetagenerationMatch"),
            number("MetagenerationNotMatch"),
        )

    def check(self, record: Mapping[str, Any] | None, *, reading: bool = False) -> None:
        """Raises ApiError 412, or 304 when a read asked for "not this one" and it is this one."""
        generation = int(record["generation"]) if record else 0
        metageneration = int(record["metageneration"]) if record else 0
        if self.generation is not None and self.generation != generation:
            raise precondition_failed()
        if self.metageneration is not None and self.metageneration != metageneration:
            raise precondition_failed()
        if generation == self.not_generation or (record is not None and metageneration == self.not_metageneration):
            raise from_http(304, "Not Modified", "notModified") if reading else precondition_failed()

"""What others said: applications, jobs, Cloud Run, Google's APIs. A type that can't be formatted by accident.

Text that the operator did not write enters it as `Words` and leaves it by `told`, which needs a `Disclosure`: what an
AgUiPolicy permits to show of this deployment, and the values that are masked in any case. `str`, `repr` and `format` of
Words give a placeholder, so that a message or a log line that forgets to ask shows nothing.

Words of a workload are shown by permission only. Words of an API (an error that answers the operator's own request) are
always shown, masked and bounded. What everybody can read on a published page is not masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from agui_operator.api.policy import Diagnostics
from agui_operator.core import masking

PLACEHOLDER = "(not shown)"
LINES = 5  # lines of a log in a message
_RANK = {Diagnostics.NONE: 0, Diagnostics.MESSAGES: 1, Diagnostics.LOG_LINES: 2}


@dataclass(frozen=True, slots=True)
class Disclosure:
    """How much of others' words may be shown, and `hidden`: values that never are, such as those of environment
    variables."""

    level: Diagnostics = Diagnostics.NONE
    hidden: tuple[str, ...] = ()

    @property
    def messages(self) -> bool:
        return _RANK[self.level] >= _RANK[Diagnostics.MESSAGES]

    @property
    def log_lines(self) -> bool:
        return _RANK[self.level] >= _RANK[Diagnostics.LOG_LINES]


UNDISCLOSED = Disclosure()


def highest(levels: Sequence[Diagnostics]) -> Diagnostics:
    return max(levels, key=lambda level: _RANK[level], default=Diagnostics.NONE)


class _Speaker(StrEnum):
    WORKLOAD = "workload"
    API = "api"


@dataclass(frozen=True, slots=True, repr=False)
class Words:
    """A text of others."""

    _text: str = ""
    _speaker: _Speaker = _Speaker.WORKLOAD

    @classmethod
    def of_workload(cls, text: object) -> Self:
        """What an application or a job said, or what is said about it and may quote it."""
        return cls(text if isinstance(text, str) else "", _Speaker.WORKLOAD)

    @classmethod
    def of_api(cls, text: object) -> Self:
        """What an API answered to a request of the operator."""
        return cls(str(text), _Speaker.API)

    def told(self, disclosure: Disclosure) -> str:
        """The text, masked and on one line, as far as it may be shown; else ""."""
        if self._speaker is _Speaker.WORKLOAD and not disclosure.messages:
            return ""
        return masking.bounded(self._text, disclosure.hidden)

    def among(self, known: frozenset[str], disclosure: Disclosure, otherwise: str = "unknown") -> str:
        """A code: as it is where it is one of a documented set, else by permission."""
        return self._text if self._text in known else self.told(disclosure) or otherwise

    def __bool__(self) -> bool:
        return bool(self._text)

    def __str__(self) -> str:
        return PLACEHOLDER

    def __repr__(self) -> str:
        return f"Words({PLACEHOLDER})"

    def __format__(self, spec: str) -> str:
        return format(PLACEHOLDER, spec)


UNSAID = Words()


def published(text: str) -> str:
    """A name from a page that everybody can read, as it may be repeated."""
    return masking.one_line(text, masking.LINE)


@dataclass(frozen=True, slots=True, repr=False)
class LogLines:
    """The last lines of a log, oldest first. Shown only where log lines are permitted."""

    _lines: tuple[str, ...] = ()

    @classmethod
    def of_workload(cls, lines: Sequence[str]) -> Self:
        return cls(tuple(lines))

    def told(self, disclosure: Disclosure) -> str:
        """The lines, each masked and bounded; "" where they may not be shown. A secret that spans lines is masked as a
        whole, so it is masked before the lines are parted."""
        if not self._lines or not disclosure.log_lines:
            return ""
        text = masking.masked("\n".join(self._lines), disclosure.hidden)
        lines = [masking.bounded(line, disclosure.hidden, masking.LINE) for line in text.split("\n")]
        return " | ".join([line for line in lines if line][-LINES:])

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __str__(self) -> str:
        return PLACEHOLDER

    def __repr__(self) -> str:
        return f"LogLines({PLACEHOLDER})"

    def __format__(self, spec: str) -> str:
        return format(PLACEHOLDER, spec)


NO_LINES = LogLines()

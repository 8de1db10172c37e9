"""Regular expressions of a spec: RE2 syntax, found in a time that is linear in the text.

A pattern of a tenant runs in the operator's process, so the engine must not backtrack: RE2 has no look-around and no
back references. Case, classes such as \\w and \\d, and \\b are ASCII; \\pL is any letter.
Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

from functools import lru_cache

import re2

PATTERN_LIMIT = 512
TEXT_LIMIT = 64 * 1024
SIZE_LIMIT = 2000  # instructions of the compiled pattern: what a search costs is this times the text at worst
_COMPILE_BYTES = 192 * 1024  # a pattern that needs more is refused before the time is spent
_SEARCH_BYTES = 2 * 1024 * 1024


class ExpressionInvalid(ValueError):
    """The pattern can't be used; the message says why."""


def check(pattern: str) -> None:
    """Raises ExpressionInvalid."""
    fault = _fault(pattern)
    if fault:
        raise ExpressionInvalid(fault)


def is_found(pattern: str, text: str) -> bool:
    """True if the pattern is found in the first 64 kB of the text. Up to a second of computing, during which other
    threads run. Raises ExpressionInvalid."""
    check(pattern)
    compiled = re2.compile(_encoded(pattern), _options(_SEARCH_BYTES))
    re2.purge()  # the package keeps 128 patterns with the memory of their searches
    return compiled.search(_encoded(text[:TEXT_LIMIT])) is not None


@lru_cache(maxsize=4096)
def _fault(pattern: str) -> str:
    if len(pattern) > PATTERN_LIMIT:
        return f"the pattern is longer than {PATTERN_LIMIT} characters"
    try:
        size = re2.compile(_encoded(pattern), _options(_COMPILE_BYTES)).programsize
    except re2.error as error:
        said = error.args[0] if error.args else ""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return f"the pattern is not a regular expression in RE2 syntax: {reason}"
    finally:
        re2.purge()
    return f"the pattern repeats too much: it has {size} steps, allowed are {SIZE_LIMIT}" if size > SIZE_LIMIT else ""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _options(memory: int) -> re2.Options:
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = memory, False, True
    return options

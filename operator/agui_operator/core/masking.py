"""Secret-like strings in the words of others, masked. Pure, and linear in the length of the text (RE2).

What is masked: PEM blocks, credentials in URLs, values behind names that mean a secret, authorization headers, JSON Web
Tokens, keys of known providers, long strings that look random, and given values. A text is masked before it is cut, so
that no cut leaves the half of a secret that was too short to be recognised.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re2

MASK = "***"
LONGEST = 400  # characters of a message that others said, as it may be repeated
LINE = 200  # characters of one line of a log
_READ = 8  # times as many characters are looked at
SHORTEST_VALUE = 4  # characters of a value that is masked where it is found literally

_NAMES = (
    "passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_.-]?key|access[_.-]?key|account[_.-]?key|private[_.-]?key|"
    "signing[_.-]?key|encryption[_.-]?key|client[_.-]?key|credentials?|cookie|session[_.-]?id|signature|sig|dsn|"
    "auth|authorization|database[_.-]?url|conn(?:ection)?[_.-]?str(?:ing)?"
)
# (pattern, what stands in its place), in this order. Groups are what stays.
_SHAPES: tuple[tuple[str, str], ...] = (
    (r"(?s)-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\z)", MASK),
    (r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s\"'<>]*@", rf"\1{MASK}@"),
    (r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n]*", rf"\1\2{MASK}"),
    (r"(?i)\b(bearer|basic|digest|negotiate)(\s+)[A-Za-z0-9+/=_.~:-]{6,}", rf"\1\2{MASK}"),
    (
        rf"(?i)([A-Za-z0-9_.-]*(?:{_NAMES})[A-Za-z0-9_.-]*\\?[\"']?\s*(?::=|=>|[:=]|\bis\b|\bwas\b)\s*)"
        r"(?:\\?\"[^\"]*(?:\"|\z)|\\?'[^']*(?:'|\z)|[^\s\"']+)",
        rf"\1{MASK}",
    ),
    (
        rf"(?i)(--?[A-Za-z0-9-]*(?:{_NAMES})[A-Za-z0-9-]*\s+)(?:\"[^\"]*(?:\"|\z)|'[^']*(?:'|\z)|[^\s\"'-][^\s]*)",
        rf"\1{MASK}",
    ),
    (r"\beyJ[A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=-]*)*", MASK),
    (r"\b(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{8,}", MASK),
    (r"\bAIza[0-9A-Za-z_-]{10,}", MASK),
    (r"\b(?:ya29\.|1//)[0-9A-Za-z_./-]{6,}", MASK),
    (r"\bGOCSPX-[0-9A-Za-z_-]+", MASK),
    (r"\b(?:gh[pousr]_|github_pat_|glpat-|npm_|xox[a-z]-|hf_|SG\.|dop_v1_|shpat_|whsec_)[0-9A-Za-z_.-]{6,}", MASK),
    (r"\b(?:sk|pk|rk)[-_][0-9A-Za-z_-]{8,}", MASK),
    (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", MASK),
)
_TOKEN = r"[A-Za-z0-9+/=_~.@:%-]{16,}"  # noqa: S105 (a pattern, not a token)
_WORD_LIMIT = 24  # a word has no more letters
_MIXED_LIMIT = 16  # a name's part that mixes letters with digits, as a release's id does, is shorter


def masked(text: str, values: Iterable[str] = ()) -> str:
    """`text` without what looks like a secret, and without each of `values` that is long enough to mean something."""
    for value in sorted({v for v in values if len(v) >= SHORTEST_VALUE}, key=len, reverse=True):
        text = text.replace(value, MASK)
    for pattern, instead in _SHAPES:
        text = _compiled(pattern).sub(instead, text)
    return str(_compiled(_TOKEN).sub(_without_random, text))


def bounded(text: str, values: Iterable[str] = (), limit: int = LONGEST) -> str:
    """`text` masked, as one line of at most `limit` characters. Of a longer text the end is not looked at."""
    text = text.replace("\x00", "")
    if len(text) > limit * _READ:
        text = text[: limit * _READ]
        text = text[: max(text.rfind(" "), text.rfind("\n"), 0)]  # its last word may be the half of one
    return one_line(masked(text, values), limit)


def one_line(text: str, limit: int) -> str:
    """`text` without control characters and those that change how a line reads."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _without_random(found: Any) -> str:
    token = found.group(0)
    return MASK if _looks_random(token) else token


def _looks_random(token: str) -> bool:
    """True for a string that is longer than words are and mixes letters with digits, or small with capital letters."""
    digits = sum(c.isdigit() for c in token)
    small, capital = any(c.islower() for c in token), any(c.isupper() for c in token)
    if digits and small and capital and len(set(token)) >= 10:
        return True
    return any(_is_random_part(part) for part in _compiled(r"[A-Za-z0-9]+").findall(token))


def _is_random_part(part: str) -> bool:
    if len(part) > _WORD_LIMIT:
        return len(set(part)) >= 6
    digits = sum(c.isdigit() for c in part)
    return len(part) >= _MIXED_LIMIT and 0 < digits < len(part)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors, options.max_mem = False, 4 * 1024 * 1024
    return re2.compile(pattern, options)

"""Does a tenant's regular expression match a tenant's text, within a bound of time?

Python's `re` takes exponential time on patterns such as `(a+)+$` and can't be interrupted, which would stop every
rollout of the operator. A pattern without a quantifier is matched here; any other in a process of its own, which is
killed when late.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

PATTERN_LIMIT = 512
TEXT_LIMIT = 64 * 1024
_QUANTIFIER = re.compile(r"[*+?{|]|\(\?|\\[0-9]")
_MATCHER = "import json,re,sys; p,t=json.load(sys.stdin); sys.exit(0 if re.search(p,t) else 1)"


class PatternInvalid(Exception):
    """The pattern does not compile, or took too long. The message says which."""


async def found(pattern: str, text: str, *, timeout: float = 2.0) -> bool:
    """True if `pattern` is found in the first 64 kB of `text`. Raises PatternInvalid."""
    if len(pattern) > PATTERN_LIMIT:
        raise PatternInvalid(f"the pattern is longer than {PATTERN_LIMIT} characters")
    text = text[:TEXT_LIMIT]
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as wrong:
        raise PatternInvalid("the pattern is not a regular expression") from wrong
    if not _QUANTIFIER.search(pattern):
        return compiled.search(text) is not None
    return await _apart(pattern, text, timeout)


async def _apart(pattern: str, text: str, timeout: float) -> bool:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        "-c",
        _MATCHER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(timeout):
            await child.communicate(json.dumps([pattern, text]).encode())
    except TimeoutError as late:
        raise PatternInvalid(f"the pattern takes more than {timeout:g} s to match; make it simpler") from late
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode == 0

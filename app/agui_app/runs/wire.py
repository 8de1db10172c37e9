"""Events as lines of JSON, as they are stored and sent: without the secrets of the environment.

An agent repeats what its tools answer, and a tool may answer with the key that it was called with. The text of answers
leaves word by word, so that a secret without white space stands in one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from agui_app.telemetry.logs import HIDDEN, secrets_of

LEAST = 12  # characters: shorter values are words that people write


@cache
def _secrets() -> tuple[str, ...]:
    return tuple(json.dumps(secret)[1:-1] for secret in secrets_of(os.environ) if len(secret) >= LEAST)


def line_of(event: Mapping[str, Any]) -> str:
    """The event as it leaves."""
    line = json.dumps(event, separators=(",", ":"))
    for secret in _secrets():
        line = line.replace(secret, HIDDEN)
    return line

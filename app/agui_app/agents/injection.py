"""Whether a text asks a model to leave its instructions: by rules in five languages, and by a classifier if one is set.

Both stand behind `Classifier`: a text in, a number between 0 and 1 out. The rules need no model and no network; another
one (a model of one's own, or a service) is named by AGUI_CLASSIFIER and asked besides them.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import yaml
from pydantic import BaseModel, ConfigDict

from agui_app.environment import SettingsError

LEXICON = Path(__file__).resolve().parent.parent / "data" / "injection.yaml"
WINDOW, OVERLAP = 20_000, 500  # characters; a pattern matches less than OVERLAP


class Classifier(Protocol):
    """Says how likely a text is an attempt to take the model over."""

    def score(self, text: str) -> float:
        """0 (harmless) to 1. Gets the text in its plain reading (see normalise.py); must answer in milliseconds."""
        ...


class _Lexicon(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    words: dict[str, tuple[str, ...]]
    patterns: tuple[str, ...]


class InjectionRules:
    """The classifier that needs nothing: 1 where a pattern of the lexicon matches, else 0."""

    def __init__(self, path: Path = LEXICON) -> None:
        lexicon = _Lexicon.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        self._patterns = tuple(re.compile(_expanded(pattern, lexicon.words)) for pattern in lexicon.patterns)

    def score(self, text: str) -> float:
        """1.0 or 0.0."""
        for start in range(0, max(1, len(text) - OVERLAP), WINDOW - OVERLAP):
            if any(pattern.search(text, start, start + WINDOW) for pattern in self._patterns):
                return 1.0
        return 0.0


@lru_cache(maxsize=1)
def injection_rules() -> InjectionRules:
    """The packaged rules, read once."""
    return InjectionRules()


def load_classifier(name: str) -> Classifier | None:
    """`module:factory` from AGUI_CLASSIFIER; None when it is empty. Raises SettingsError."""
    if not name:
        return None
    module, _, factory = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError, TypeError) as exc:
        raise SettingsError(f"AGUI_CLASSIFIER must be module:factory; {name!r} cannot be used: {exc}") from exc
    return cast(Classifier, made)


def _expanded(pattern: str, words: dict[str, tuple[str, ...]]) -> str:
    """The regular expression of a pattern: <name> becomes the words, <n> at most n words and what separates them."""

    def fragment(match: re.Match[str]) -> str:
        name = match[1]
        if name.isdigit():
            return rf"(?:\W{{1,4}}\w{{1,30}}){{0,{name}}}?\W{{1,4}}"
        return rf"\b(?:{'|'.join(words[name])})\b"

    return re.sub(r"<(\w+)>", fragment, pattern)

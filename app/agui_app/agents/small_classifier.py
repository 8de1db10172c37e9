"""A small classifier of injections that runs here: logistic regression over hashed pieces of words.

`AGUI_CLASSIFIER=agui_app.agents.small_classifier:load` asks it besides the rules. It needs no package and no network:
weights are one byte for each of 2^15 buckets (data/injection_weights.bin), made by `python -m
agui_dev.guardrail_training`. Above 0.9, the default `threshold` of the rule, it takes about one harmless sentence in a
hundred for an injection. It sees wordings that no rule knows; figures: docs/security-application.md.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from zlib import crc32

WEIGHTS = Path(__file__).resolve().parent.parent / "data" / "injection_weights.bin"
BUCKETS = 1 << 15
GRAMS = (3, 4, 5)  # characters
# A long text is judged by its ends and in sentences: a command among harmless words would be outvoted else.
MOST_CHARACTERS, MOST_SENTENCES, LEAST_LETTERS = 2_000, 24, 20
_HEADER = struct.Struct("<ff")  # scale of the weights, bias
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")


def features(text: str) -> tuple[int, ...]:
    """Buckets of the pieces, words and pairs of words of a text in its plain reading."""
    words = text.split()
    line = f" {' '.join(words)} "
    pieces = [line[i : i + n] for n in GRAMS for i in range(len(line) - n + 1)]
    pieces += [f"w:{word}" for word in words]
    pieces += [f"b:{first} {second}" for first, second in pairwise(words)]
    return tuple(sorted({crc32(piece.encode()) % BUCKETS for piece in pieces}))


class SmallClassifier:
    """`weights` by bucket; their sum over a text, divided by the root of the number of features, is its log-odds."""

    def __init__(self, weights: Sequence[float], bias: float) -> None:
        self._weights, self._bias = weights, bias

    def score(self, text: str) -> float:
        """0 (harmless) to 1: the highest of the text and of its sentences."""
        return max(1 / (1 + math.exp(-self._odds(part))) for part in _parts(text))

    def _odds(self, text: str) -> float:
        found = features(text)
        total = sum(self._weights[bucket] for bucket in found)
        return max(-30.0, min(30.0, self._bias + total / math.sqrt(len(found) or 1)))


def load(path: Path = WEIGHTS) -> SmallClassifier:
    """The packaged classifier."""
    raw = path.read_bytes()
    scale, bias = _HEADER.unpack_from(raw)
    return SmallClassifier([value * scale for value in struct.unpack_from(f"{BUCKETS}b", raw, _HEADER.size)], bias)


def packed(weights: Sequence[float], bias: float) -> bytes:
    """The content of a file that `load` reads."""
    scale = max(map(abs, weights)) / 127 or 1.0
    return _HEADER.pack(scale, bias) + struct.pack(f"{BUCKETS}b", *(round(weight / scale) for weight in weights))


def _parts(text: str) -> Iterator[str]:
    ends = text if len(text) <= 2 * MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}\n{text[-MOST_CHARACTERS:]}"
    yield ends
    sentences = [part for part in _SENTENCE.split(ends) if sum(map(str.isalpha, part)) >= LEAST_LETTERS]
    if len(sentences) > 1:
        half = MOST_SENTENCES // 2
        yield from sentences if len(sentences) <= MOST_SENTENCES else sentences[:half] + sentences[-half:]

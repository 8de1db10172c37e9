"""Trains the small classifier of injections: `python -m agui_dev.guardrail_training` writes its weights.

Logistic regression by stochastic gradient descent with AdaGrad, in plain Python; the same corpus and SEED give the same
file. It learns from the halves in LEARNT and never from HELD_OUT, from which the documentation has its figures. `--cut`
prints what CUT should be.
"""

from __future__ import annotations

import math
import random
import sys

from agui_app.agents.normalise import plain
from agui_app.agents.small_classifier import BUCKETS, WEIGHTS, features, packed
from agui_dev.guardrail_figures import LANGUAGES, sentences

LEARNT = ("tuning", "validation", "validation_2", "validation_3")
HELD_OUT = "validation_4"
SEED, EPOCHS, RATE, SHRINK = 7, 30, 0.5, 1e-4
# Log-odds above which one in a hundred harmless sentences is taken for an injection, by leaving out each learnt half in
# turn. The score is shifted so that they are MARK there.
CUT, MARK = 1.93, 0.9
Row = tuple[tuple[int, ...], int]


def rows(halves: tuple[str, ...] = LEARNT) -> list[Row]:
    """(features, 1 for an injection) of the corpus."""
    return [
        (features(plain(sentence)), int(kind == "injections"))
        for half in halves
        for language in LANGUAGES
        for kind in ("injections", "benign")
        for sentence in sentences(half, kind, language)
    ]


def trained(learnt: list[Row]) -> tuple[list[float], float]:
    """(weights, bias)."""
    weights, seen, bias = [0.0] * BUCKETS, [1e-6] * BUCKETS, 0.0
    order = random.Random(SEED)
    learnt = list(learnt)
    for _ in range(EPOCHS):
        order.shuffle(learnt)
        for found, wanted in learnt:
            share = 1 / math.sqrt(len(found))
            odds = bias + share * sum(weights[bucket] for bucket in found)
            error = 1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))) - wanted
            bias -= 0.05 * error
            for bucket in found:
                slope = error * share + SHRINK * weights[bucket]
                seen[bucket] += slope * slope
                weights[bucket] -= RATE * slope / math.sqrt(seen[bucket])
    return weights, bias


def cut() -> float:
    """What CUT is."""
    harmless = []
    for left_out in LEARNT:
        weights, bias = trained(rows(tuple(half for half in LEARNT if half != left_out)))
        for found, wanted in rows((left_out,)):
            if not wanted:
                harmless.append(bias + sum(weights[bucket] for bucket in found) / math.sqrt(len(found)))
    return sorted(harmless, reverse=True)[len(harmless) // 100]


def main(arguments: list[str]) -> int:
    """Writes the file."""
    if "--cut" in arguments:
        print(f"{cut():.2f}")
        return 0
    weights, bias = trained(rows())
    WEIGHTS.write_bytes(packed(weights, bias - CUT + math.log(MARK / (1 - MARK))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The small classifier of injections: what it costs, that training is repeatable, and that it adds to the rules."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agui_app.agents.guardrails import check_input
from agui_app.agents.injection import load_classifier
from agui_app.agents.small_classifier import BUCKETS, SmallClassifier, load, packed
from agui_dev.guardrail_figures import LANGUAGES, UNSEEN, rules_of, sentences
from agui_dev.guardrail_training import HELD_OUT, LEARNT, rows, trained

NAME = "agui_app.agents.small_classifier:load"


def counted(kind: str, classifier: SmallClassifier | None) -> tuple[int, int]:
    """(blocked, all) of the half that nobody learnt from."""
    rules = rules_of()
    told = [sentence for language in LANGUAGES for sentence in sentences(UNSEEN, kind, language)]
    return sum(check_input(rules, sentence, classifier) is not None for sentence in told), len(told)


def test_it_blocks_more_unseen_wordings_than_the_rules_at_one_percent_of_false_alarms():
    alone, attacks = counted("injections", None)
    together, _ = counted("injections", load())
    alarms, harmless = counted("benign", load())
    assert together >= alone + 0.2 * attacks
    assert alarms <= 0.01 * harmless


def test_it_never_learnt_what_it_is_measured_with():
    assert UNSEEN == HELD_OUT
    assert UNSEEN not in LEARNT
    learnt = {s for half in LEARNT for lang in LANGUAGES for s in sentences(half, "injections", lang)}
    assert not learnt & {s for lang in LANGUAGES for s in sentences(UNSEEN, "injections", lang)}


def test_training_is_repeatable_and_survives_packing(tmp_path):
    few = rows(("tuning",))[:60]
    weights, bias = trained(few)
    assert (weights, bias) == trained(few)
    path = tmp_path / "weights.bin"
    path.write_bytes(packed(weights, bias))
    assert path.stat().st_size == BUCKETS + 8
    exact, stored = SmallClassifier(weights, bias), load(path)
    for sentence in sentences("tuning", "injections", "en"):
        assert stored.score(sentence) == pytest.approx(exact.score(sentence), abs=0.02)


def test_a_long_text_costs_no_more_than_a_short_one():
    classifier, text = load(), "where is order 42? " * 50_000
    began = time.process_time()
    classifier.score(text)
    classifier.score("x" * 1_000_000)
    assert time.process_time() - began < 0.2


def test_a_command_among_harmless_sentences_is_found():
    classifier = load()
    command = max(sentences("validation", "injections", "en"), key=classifier.score)
    assert classifier.score(command) >= 0.9
    assert classifier.score(f"Where is order 42? {'It is late today. ' * 6}\n{command}\nThank you very much!") >= 0.9


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_a_score_is_between_zero_and_one(text):
    assert 0 <= load().score(text) <= 1


def test_the_setting_names_it():
    assert isinstance(load_classifier(NAME), SmallClassifier)

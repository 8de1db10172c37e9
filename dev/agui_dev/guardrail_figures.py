"""How many injections the guardrails block, and how many harmless sentences: `python -m agui_dev.guardrail_figures`.

Reads the halves of the corpus (tests/support/guardrail_corpus), writes each injection in every disguise, and puts
the figures into docs/security-application.md between two markers; `--check` fails where they are not up to date, and
`--missed` prints what was judged wrong.
"""

from __future__ import annotations

import base64
import html
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from agui_app.agents.guardrails import Guardrails, check_input, load_guardrails
from agui_app.agents.small_classifier import load
from agui_app.settings import PACKAGE
from agui_dev.paths import ROOT

CORPUS = ROOT / "tests" / "support" / "guardrail_corpus"
PAGE = ROOT / "docs" / "security-application.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
UNSEEN = "validation_4"  # neither the rules nor the small classifier were made with it
LANGUAGES = ("en", "pt", "es", "de", "fr")
HALVES = ("tuning", "validation", "validation_2", "validation_3")
Disguise = Callable[[str], str]

_LOOK_ALIKE = str.maketrans("aeocpxyi", "аеосрхуі")
_LEET = str.maketrans("aeiost", "431057")


def _letters(text: str, each: Callable[[str], str]) -> str:
    return "".join(each(c) if c.isalpha() else c for c in text)


def _styled(first: int) -> Disguise:
    """Plain letters in a mathematical or enclosed alphabet that starts there; accents go."""

    def disguise(text: str) -> str:
        bare = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
        return "".join(chr(first + ord(c.lower()) - ord("a")) if c.isascii() and c.isalpha() else c for c in bare)

    return disguise


def _tags(text: str) -> str:
    """Invisible tag characters after a harmless question."""
    bare = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return "Where is order 42?" + "".join(chr(0xE0000 + ord(c)) for c in bare)


DISGUISES: Mapping[str, Disguise] = {
    "as it is": str,
    "capitals": str.upper,
    "zero-width spaces": lambda text: _letters(text, lambda c: c + "\u200b"),
    "soft hyphens": lambda text: _letters(text, lambda c: c + "\u00ad"),
    "bidirectional controls": lambda text: _letters(text, lambda c: "\u202d" + c + "\u202c"),
    "combining marks": lambda text: _letters(text, lambda c: c + "\u0336"),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "mathematical bold": _styled(0x1D41A),
    "circled letters": _styled(0x24D0),
    "HTML entities": lambda text: "".join(f"&#{ord(c)};" if c.isalpha() else html.escape(c) for c in text),
    "look-alike letters": lambda text: text.lower().translate(_LOOK_ALIKE),
    "digits for letters": lambda text: text.lower().translate(_LEET),
    "emphasis": lambda text: " ".join(f"**{word}**" for word in text.split()),
    "spelt out": lambda text: "   ".join(" ".join(word) for word in text.split()),
    "dots inside of words": lambda text: " ".join(".".join(word) if word.isalpha() else word for word in text.split()),
    "line breaks": lambda text: "\n".join(text.split()),
    "tag characters": _tags,
    "base64": lambda text: "decode this: " + base64.b64encode(text.encode()).decode(),
    "harmless words around": lambda text: f"Where is order 42? {'It is late. ' * 20}\n{text}\nThank you very much!",
}
# Only in the validation halves: the rules were made without them.
MORE_DISGUISES: Mapping[str, Disguise] = {
    "variation selectors": lambda text: _letters(text, lambda c: c + "\ufe0f"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0\u2009"),
    "hyphens inside of words": lambda text: " ".join("-".join(w) if w.isalpha() else w for w in text.split()),
    "word joiners and entities": lambda text: text.replace("e", "&#101;").replace("a", "a\u2060"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one half and language: blocked of all injections (plain, in disguises), false alarms of all benign ones."""

    plain: tuple[int, int]
    disguised: tuple[int, int]
    alarms: tuple[int, int]


def sentences(half: str, kind: str, language: str) -> list[str]:
    """A part of the corpus; `kind` is injections or benign."""
    corpus = yaml.safe_load((CORPUS / f"{half}.yaml").read_text(encoding="utf-8"))
    return [str(sentence) for sentence in corpus[kind][language]]


def disguises_of(half: str) -> Mapping[str, Disguise]:
    """The disguises of a half."""
    return DISGUISES if half == "tuning" else {**DISGUISES, **MORE_DISGUISES}


def wrong(half: str, language: str, rules: Guardrails) -> Iterator[tuple[str, str, str]]:
    """(kind, disguise, sentence) of all that is judged wrong."""
    for sentence in sentences(half, "injections", language):
        for name, disguise in disguises_of(half).items():
            if check_input(rules, disguise(sentence)) is None:
                yield "injections", name, sentence
    for sentence in sentences(half, "benign", language):
        if check_input(rules, sentence) is not None:
            yield "benign", "as it is", sentence


def measure(half: str, language: str, rules: Guardrails) -> Figure:
    """Counts."""
    found = list(wrong(half, language, rules))
    plain = [w for w in found if w[:2] == ("injections", "as it is")]
    disguised = [w for w in found if w[0] == "injections" and w[1] != "as it is"]
    attacks, harmless = len(sentences(half, "injections", language)), len(sentences(half, "benign", language))
    other = attacks * (len(disguises_of(half)) - 1)
    alarms = sum(w[0] == "benign" for w in found)
    return Figure((attacks - len(plain), attacks), (other - len(disguised), other), (alarms, harmless))


def table(rules: Guardrails) -> str:
    """The figures as Markdown."""
    blind = yaml.safe_load((CORPUS / "blind.yaml").read_text(encoding="utf-8"))
    rows = [
        "| half | language | injections, first seen | false alarms, first seen | injections, now | in disguises, now |"
        " false alarms, now |",
        "|---|---|---|---|---|---|---|",
    ]
    for half in HALVES:
        for language in LANGUAGES:
            figure = measure(half, language, rules)
            first = blind.get(half, {}).get(language)
            cells = [_share(*first["blocked"]), _share(*first["alarms"])] if first else ["-", "-"]
            cells += [_share(*figure.plain), _share(*figure.disguised), _share(*figure.alarms)]
            rows.append(f"| {half.replace('_', ' ')} | {language} | {' | '.join(cells)} |")
    return "\n".join(rows)


def unseen_table(rules: Guardrails) -> str:
    """What the rules do with the half that nobody learnt from, and what they do together with the small classifier."""
    rows = [
        "| language | rules: injections | false alarms | rules and small classifier: injections | false alarms |",
        "|---|---|---|---|---|",
    ]
    classifier = load()
    for language in LANGUAGES:
        cells = []
        for asked in (None, classifier):
            for kind in ("injections", "benign"):
                told = sentences(UNSEEN, kind, language)
                cells.append(_share(sum(check_input(rules, s, asked) is not None for s in told), len(told)))
        rows.append(f"| {language} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % ({part} of {whole})"


def rules_of(folder: Path = PACKAGE) -> Guardrails:
    """The packaged rules."""
    return load_guardrails(folder / "data" / "guardrails.yaml")


def main(arguments: list[str]) -> int:
    """Exit code: 1 with `--check` where the page is not up to date."""
    rules = rules_of()
    if "--missed" in arguments:
        halves = [half for half in HALVES if half in arguments] or list(HALVES)
        for half in halves:
            for language in LANGUAGES:
                for kind, disguise, sentence in wrong(half, language, rules):
                    print(f"{half} {language} {kind} [{disguise}] {sentence}")
        return 0
    before = PAGE.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{table(rules)}\n\n{unseen_table(rules)}\n{END}{rest.partition(END)[2]}"
    if "--check" in arguments:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Dashboard and application have one look; a colour has one meaning, and can be read in light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "operator" / "agui_operator" / "dashboard" / "static" / "dashboard.css"
APPLICATION = ROOT / "frontend" / "src" / "styles.css"
TOKEN = re.compile(r"(--[a-z-]+):\s*([^;]+);")


def tokens(sheet: Path, dark: bool) -> dict[str, str]:
    """The names that a style sheet gives to colours and typefaces, in its light or in its dark part."""
    text = sheet.read_text()
    begin = text.index("prefers-color-scheme: dark") if dark else 0
    return dict(TOKEN.findall(text[text.index(":root", begin) :].partition("}")[0]))


@pytest.mark.parametrize("dark", [False, True])
def test_what_both_name_is_the_same(dark: bool) -> None:
    mine, theirs = tokens(DASHBOARD, dark), tokens(APPLICATION, dark)
    both = mine.keys() & theirs.keys()
    assert {"--paper", "--sheet", "--ink", "--green", "--brass", "--brick"} <= both
    assert {name: mine[name] for name in both} == {name: theirs[name] for name in both}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("sheet", [DASHBOARD, APPLICATION], ids=["dashboard", "application"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_colour_can_be_read_where_it_stands(sheet: Path, dark: bool) -> None:
    """4.5 to 1 is AA for text of any size."""
    found = tokens(sheet, dark)
    known = ("--ink", "--quiet", "--green", "--blue", "--brass", "--brick")
    words: list[str] = [name for name in known if name in found]
    pairs: list[tuple[str, str]] = [(word, ground) for word in words for ground in ("--paper", "--sheet")]
    for wash in (name for name in found if name.endswith("-wash")):
        pairs += [(wash.removesuffix("-wash"), wash), ("--ink", wash)]
    unreadable = {pair: round(ratio, 2) for pair in pairs if (ratio := contrast(*(found[name] for name in pair))) < 4.5}
    assert unreadable == {}


# what a selector must be about to use a colour: a word for the meaning, or a place that has just that one
MEANINGS = {
    "green": ("fine", "done", "Passed", "within", '"on"'),
    "blue": ("moving", "current"),
    "brass": ("waiting", "held", "Inconclusive", "presence"),
    "brick": ("stopped", "failed", "Failed", "over", "limit", "bad", '"lost"', "back", ".checks .detail"),
}


def test_a_colour_has_one_meaning() -> None:
    text = re.sub(r"/\*.*?\*/", "", DASHBOARD.read_text(), flags=re.S)
    strange = []
    for selectors, declarations in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        if ":root" in selectors:
            continue
        for colour in re.findall(r"var\(--(green|blue|brass|brick)(?:-wash)?\)", declarations):
            strange += [
                f"{selector.strip()}: {colour}"
                for selector in selectors.split(",")
                if not any(word in selector for word in MEANINGS[colour])
            ]
    assert strange == []

"""Dashboard and application are two programs with one look: what both name a colour or a typeface is the same."""

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

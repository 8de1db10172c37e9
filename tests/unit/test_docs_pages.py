"""The documents say what the code does, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agui_dev import pages
from agui_operator.core import diagram
from agui_operator.core.rollout import TRANSITIONS, Phase

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "localgcp/README.md", ROOT / "app/README.md"]
)


def test_the_generated_pages_are_what_the_code_says() -> None:
    assert pages.check(ROOT) == []


def test_a_page_that_drifted_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    pages.write(tmp_path)
    (tmp_path / "docs/metrics.md").write_text("old")
    assert pages.check(tmp_path) == ["docs/metrics.md is not what the code says"]


def test_the_drawing_has_every_phase_and_every_row() -> None:
    text = diagram.render()
    assert all(f"| {phase} | " in text for phase in Phase)
    assert all(f"| {p} | {e} | {t} |" in text for p, row in TRANSITIONS.items() for e, t in row.items())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_test_of_the_threat_model_exists() -> None:
    """The last column, or that before "held", names them."""
    table = [line.split(" | ") for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")]
    rows = [columns for columns in table if "`" in "".join(columns[-2:])]
    assert len(rows) > 35
    classes = [int(found[1]) for columns in table if (found := re.match(r"\| ([0-9]+)\. ", columns[0]))]
    assert classes == list(range(1, 19)), "each class of attack has a row"
    for row in rows:
        folder = ROOT
        for name in re.findall(r"`([^`]+)`", row[1] if re.match(r"\| [0-9]+\. ", row[0]) else row[-1]):
            if name.startswith("test_") and not name.endswith(".py"):
                assert f"def {name}(" in (ROOT / "tests/properties/test_every_world.py").read_text()
                continue
            path = ROOT / name if "/" in name else folder / name
            assert path.exists(), f"{name} in: {row}"
            folder = path.parent

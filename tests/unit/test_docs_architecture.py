"""Every path and every name of the code that docs/architecture.md gives exists."""

from __future__ import annotations

import ast
import keyword
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
# What a path may be relative to: the repository, or one of the packages that the page is about.
BASES = (
    ROOT,
    ROOT / "operator/agui_operator",
    ROOT / "localgcp/localgcp",
    ROOT / "app/agui_app",
    ROOT / "dev/agui_dev",
)
PACKAGES = BASES[1:]


def named(page: str) -> list[str]:
    """What stands in backticks, and the words of code blocks that look like a call or a path."""
    blocks = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    calls = [word for block in blocks for word in re.findall(r"[\w/.]+\.py|[\w.]+(?=\()", block)]
    return [*inline, *calls]


def paths(page: str) -> list[str]:
    return sorted({name for name in named(page) if re.fullmatch(r"[\w.<>-]+(/[\w.<>-]*)+|[\w-]+\.(py|md|toml)", name)})


def identifiers(page: str) -> list[str]:
    """Names of functions, classes, methods and constants, without module, object or arguments."""
    names = set(named(page)) - set(paths(page))
    words = (re.fullmatch(r"(?:\w+\.)*([A-Za-z_]\w*)(?:\(.*\))?", name) for name in names)
    return sorted({word[1] for word in words if word is not None and not keyword.iskeyword(word[1])})


@cache
def defined() -> frozenset[str]:
    found: set[str] = set()
    for package in PACKAGES:
        for file in package.rglob("*.py"):
            found |= {file.stem, file.parent.name}
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    found.add(node.name)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
    return frozenset(found)


def exists(path: str) -> bool:
    """True if the path is there; `<kind>` stands for any name."""
    pattern = re.sub(r"<[^>]+>", "*", path.rstrip("/"))
    return any(any(base.glob(pattern)) for base in (*BASES, ROOT / "docs"))


@pytest.mark.parametrize("path", paths(PAGE.read_text()))
def test_a_named_path_exists(path: str) -> None:
    assert exists(path), f"docs/architecture.md names {path}"


@pytest.mark.parametrize("name", identifiers(PAGE.read_text()))
def test_a_named_function_exists(name: str) -> None:
    assert name in defined() or exists(name), f"docs/architecture.md names {name}"


def test_what_is_missing_is_found_missing() -> None:
    page = "`core/no_such.py` and `no_such_function(...)`\n```\nx = gone.no_such_call(1)  core/gone.py\n```"
    assert paths(page) == ["core/gone.py", "core/no_such.py"]
    assert identifiers(page) == ["no_such_call", "no_such_function"]
    assert not any(map(exists, paths(page)))
    assert not set(identifiers(page)) & defined()
    assert len(paths(PAGE.read_text())) > 25

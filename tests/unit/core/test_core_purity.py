"""`core` and `api` decide and never look: no coroutine, clock, randomness, environment, network or file.

The import contracts forbid modules; this test also finds what a permitted module offers (`datetime.now`).
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import agui_operator

PACKAGE = Path(agui_operator.__file__).parent
GENERATOR = PACKAGE / "api/generate.py"  # writes the files that are generated from the models; run by people only
PURE = sorted(p for folder in ("core", "api") for p in (PACKAGE / folder).rglob("*.py") if p != GENERATOR)

MODULES = {
    "aiohttp",
    "asyncio",
    "google",
    "grpc",
    "kopf",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
CALLS = {"now", "utcnow", "today", "open", "print", "input", "getenv", "uuid4", "monotonic", "sleep", "exec", "eval"}
ASYNC = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)


def impurities(source: str) -> list[str]:
    """What in a module would look at the world, with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, f"imports {a.name}") for a in names if a.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                found.append((node.lineno, f"imports {module}"))
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)) if name in CALLS:
                found.append((node.lineno, f"calls {name}"))
            case ast.Global() | ast.Nonlocal():
                found.append((node.lineno, "keeps state in a variable of the module"))
            case _ if isinstance(node, ASYNC):
                found.append((node.lineno, "waits"))
    return [f"line {line} {what}" for line, what in sorted(found)]


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_it_decides_and_never_looks(path: Path) -> None:
    assert impurities(path.read_text()) == []


def test_enough_modules_are_looked_at() -> None:
    names = {p.relative_to(PACKAGE).as_posix() for p in PURE}
    assert {"core/decide.py", "core/rollout.py", "core/status.py", "api/deployment.py"} <= names


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os", "imports os"),
        ("import os.path", "imports os.path"),
        ("from time import monotonic", "imports time"),
        ("from google.cloud import run_v2", "imports google.cloud"),
        ("x = datetime.now(UTC)", "calls now"),
        ("x = date.today()", "calls today"),
        ("x = open('f')", "calls open"),
        ("async def f() -> None: ...", "waits"),
        ("def f():\n    global x\n    x = 1", "keeps state"),
    ],
)
def test_the_test_sees_what_it_forbids(source: str, found: str) -> None:
    assert any(found in line for line in impurities(source))
    assert impurities("from datetime import datetime\nfrom agui_operator.core.names import Names\n") == []

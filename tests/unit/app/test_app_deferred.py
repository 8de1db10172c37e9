"""Packages that are imported at first use: whoever imported a name from them gets the real thing then, not before."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PACKAGE = {
    "__init__.py": "",
    "deep/__init__.py": "from slow_package.deep.parts import Part, PartError, make\nVERSION = '1'",
    "deep/parts.py": """
        class Part:
            KIND = "oak"
        class PartError(Exception): ...
        def make(kind):
            if not kind:
                raise PartError("no kind")
            return Part()
        """,
}
USER = """
    import slow_package.deep
    from slow_package.deep import Part, PartError, make
    def made(kind):
        try:
            return make(kind)
        except PartError as exc:
            return str(exc)
    """
LOADED = "'slow_package.deep.parts' in sys.modules and hasattr(sys.modules['slow_package.deep.parts'], '__file__')"


@pytest.fixture
def run(tmp_path):
    """Runs lines in a fresh interpreter in which `slow_package.deep` is deferred and `user` imported names from it."""
    files = {f"slow_package/{name}": text for name, text in PACKAGE.items()} | {"user.py": USER}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    head = "import sys\nfrom agui_app.deferred import defer_unused\ndefer_unused(['slow_package.deep'])\nimport user\n"
    head += f"def loaded(): return {LOADED}\nassert not loaded()\n"

    def go(lines: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", head + textwrap.dedent(lines)], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    return go


def test_a_call_loads_and_swaps_every_name(run):
    run(
        """
        part = user.made("oak")
        assert loaded()
        from slow_package.deep.parts import Part
        assert type(part) is Part is user.Part is user.slow_package.deep.Part
        assert user.slow_package.deep.VERSION == "1"
        """
    )


def test_an_exception_of_the_package_is_caught_by_its_name(run):
    run("assert user.made('') == 'no kind'")


def test_an_attribute_a_subclass_and_an_instance_check(run):
    run("assert user.Part.KIND == 'oak' and loaded()")
    run("class Mine(user.Part): pass\nassert Mine.KIND == 'oak' and loaded()")
    run("assert not isinstance(3, user.Part) and not loaded()")
    run("old = user.Part\npart = user.made('oak')\nassert isinstance(part, old) and not isinstance(3, old)")


def test_what_is_imported_already_is_left_alone(run):
    run("import json\ndefer_unused(['json'])\nfrom json import dumps\nassert dumps([1]) == '[1]'")


def test_the_application_starts_without_what_it_does_not_use_and_can_still_use_it():
    script = """
        import sys
        from agui_app.deferred import defer_unused
        defer_unused()
        import agui_app.http.application
        assert not {"a2ui.core", "jsonschema", "authlib.oauth2.rfc6749.wrappers"} & set(sys.modules)
        import ag_ui_adk, ag_ui_adk.adk_agent
        from google.adk.auth import oauth2_credential_util
        assert ag_ui_adk.is_auto_injected_a2ui_tool(None) is False
        assert isinstance(ag_ui_adk.adk_agent.A2UISubAgentTool, type) and "a2ui.core" in sys.modules
        assert oauth2_credential_util.OAuth2Token({"expires_at": 1}).is_expired()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

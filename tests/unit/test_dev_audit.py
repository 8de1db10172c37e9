"""`make audit`: what the tools report, and that a database which does not answer never looks like a clean result."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from agui_dev import audit
from agui_dev.audit import FOUND, NOT_CHECKED, Outcome, read_npm_audit, read_pip_audit, told, unreachable
from agui_dev.steps import StepFailed

CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BAD = {
    "name": "toy",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


def test_findings_of_python_name_the_version_that_mends_them() -> None:
    outcome = read_pip_audit(json.dumps({"dependencies": [CLEAN, BAD, BAD]}))
    assert outcome.findings == ("toy 1.0: PYSEC-1, fixed in 1.1, 2.0", "toy 1.0: PYSEC-2, no fix yet")
    assert read_pip_audit(json.dumps({"dependencies": [CLEAN]})) == Outcome("Python", 1)


def test_lists_that_share_packages_are_one_outcome() -> None:
    one, other = Outcome("Python", 2, ("toy: X",)), Outcome("Python", 3, ("toy: X", "odd: Y"), "odd was skipped")
    assert audit.merged([one, other]) == Outcome("Python", 5, ("toy: X", "odd: Y"), "odd was skipped")
    lines, code = told([audit.merged([one, other])])
    assert (code, lines[0]) == (FOUND, "Python: NOT CHECKED: odd was skipped")
    assert "  odd: Y" in lines


def test_a_skipped_package_is_not_a_checked_one() -> None:
    skipped = {"name": "odd", "skip_reason": "Dependency not found"}
    assert "odd: Dependency not found" in read_pip_audit(json.dumps({"dependencies": [CLEAN, skipped]})).why_not


def test_findings_of_npm() -> None:
    advisory = {"title": "Prototype pollution", "url": "https://example.com/1", "severity": "high"}
    vulnerable = {"deep": {"severity": "high", "via": [advisory]}, "above": {"severity": "low", "via": ["deep"]}}
    report = {"vulnerabilities": vulnerable, "metadata": {"dependencies": {"total": 3}}}
    outcome = read_npm_audit(json.dumps(report))
    assert outcome.findings == (
        "above (low): through deep",
        "deep (high): Prototype pollution https://example.com/1",
    )
    clean = {"vulnerabilities": {}, "metadata": {"dependencies": {"total": 3}}}
    assert read_npm_audit(json.dumps(clean)) == Outcome("npm", 3)


@pytest.mark.parametrize(
    "report",
    [
        {"message": "405 Method Not Allowed", "method": "POST"},
        {"error": {"code": "ENOAUDIT", "summary": "405 Method Not Allowed"}},
    ],
)
def test_a_registry_without_advisories_is_told(report: object) -> None:
    assert "405 Method Not Allowed" in read_npm_audit(json.dumps(report)).why_not


@pytest.mark.parametrize(
    ("outcomes", "code", "line"),
    [
        ([Outcome("Python", 5), Outcome("npm", 7)], 0, "npm: no advisory for 7 packages"),
        ([Outcome("Python", 5), Outcome("npm", why_not="no answer")], NOT_CHECKED, "npm: NOT CHECKED: no answer"),
        ([Outcome("Python", 5, ("toy: X",)), Outcome("npm", why_not="no answer")], FOUND, "  toy: X"),
    ],
)
def test_the_exit_code_tells_found_from_not_checked(outcomes: list[Outcome], code: int, line: str) -> None:
    lines, told_code = told(outcomes)
    assert (told_code, line in lines) == (code, True)


@pytest.mark.parametrize("failure", [StepFailed("no npm"), ValueError("no JSON"), KeyError("dependencies")])
def test_a_tool_that_fails_has_checked_nothing(failure: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> Outcome:
        raise failure

    assert audit.main((lambda: Outcome("Python", 5), fails)) == NOT_CHECKED
    shown = capsys.readouterr()
    assert "npm: NOT CHECKED" in shown.out
    assert "not known to be free" in shown.err


def test_no_database_means_no_tool_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError("pip-audit was installed")

    monkeypatch.setattr(audit, "unreachable", lambda: "it cannot be reached")
    monkeypatch.setattr(audit, "_pip_audit", never)
    assert audit.audit_python() == Outcome("Python", why_not="it cannot be reached")


def test_a_database_that_answers_with_an_error_is_there() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # 501 for every method
    thread = Thread(target=server.handle_request)
    thread.start()
    try:
        assert unreachable(f"http://127.0.0.1:{server.server_port}/v1/query") == ""
    finally:
        thread.join(10)
        server.server_close()


def test_a_database_that_does_not_answer_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        assert unreachable(address).startswith(f"{address} cannot be reached: ")

"""Compares the pinned versions with public advisories: `make audit`.

Python's lists go to the OSV database through pip-audit, the browser application's to the npm registry's advisories.
Both need the network. A database that does not answer is told as "not checked", and never counts as "nothing found".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agui_dev.paths import ROOT, cache_dir
from agui_dev.setup.stamp import stamp
from agui_dev.setup.venv import find_uv
from agui_dev.steps import StepFailed, only_one, run_step, say

OSV = "https://api.osv.dev/v1/query"
TOOL = ROOT / "requirements" / "audit.txt"
# dev.txt holds what the images' lists hold.
LISTS = ("requirements/dev.txt", "requirements/sbom.txt", "requirements/audit.txt", "dev/uv.txt")
FRONTEND = ROOT / "frontend"
_REACHABLE_SECONDS = 10.0
_AUDIT_SECONDS = 600.0

FOUND, NOT_CHECKED = 1, 2  # exit codes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one database. `findings` are sentences; `why_not` says why nothing was compared, if so."""

    what: str
    packages: int = 0
    findings: tuple[str, ...] = ()
    why_not: str = ""


def read_pip_audit(text: str) -> Outcome:
    """The JSON report of pip-audit. Raises ValueError for anything else."""
    report: dict[str, Any] = json.loads(text)
    packages: list[dict[str, Any]] = report["dependencies"]
    skipped = [f"{p['name']}: {p['skip_reason']}" for p in packages if "skip_reason" in p]
    if skipped:
        return Outcome("Python", why_not=f"{len(skipped)} packages were skipped, such as {skipped[0]}")
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        + (f", fixed in {', '.join(advisory['fix_versions'])}" if advisory.get("fix_versions") else ", no fix yet")
        for package in packages
        for advisory in package["vulns"]
    ]
    return Outcome("Python", len(packages), tuple(dict.fromkeys(found)))


def read_npm_audit(text: str) -> Outcome:
    """The JSON report of `npm audit`, or the reason why there is none. Raises ValueError for anything else."""
    report: dict[str, Any] = json.loads(text)
    if "metadata" not in report:
        told = report.get("message") or (report.get("error") or {}).get("summary") or "npm said nothing"
        return Outcome("npm", why_not=f"the registry gives no advisories: {told}")
    found = [
        f"{name} ({entry['severity']}): {_advisory(entry)}"
        for name, entry in sorted((report.get("vulnerabilities") or {}).items())
    ]
    return Outcome("npm", int(report["metadata"]["dependencies"]["total"]), tuple(found))


def _advisory(entry: dict[str, Any]) -> str:
    """The title of an advisory, or the package through which it comes in."""
    via = entry.get("via") or ["unknown"]
    first = via[0]
    return f"{first['title']} {first.get('url', '')}".strip() if isinstance(first, dict) else f"through {first}"


def unreachable(address: str = OSV) -> str:
    """Why a database does not answer from here; empty when it does. An HTTP error is an answer."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_REACHABLE_SECONDS).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return f"{address} cannot be reached: {getattr(error, 'reason', error)}"
    return ""


def audit_python() -> Outcome:
    """Raises StepFailed when pip-audit cannot be installed or fails."""
    if reason := unreachable():
        return Outcome("Python", why_not=reason)
    tool = _pip_audit()
    options = ["--vulnerability-service", "osv", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    # One list at a time: pip-audit takes no package twice.
    reports = (_said([tool, *options, "--requirement", ROOT / name], ROOT) for name in LISTS)
    return merged([read_pip_audit(report) for report in reports])


def merged(outcomes: list[Outcome]) -> Outcome:
    """The outcomes of several lists as one; a finding in two of them counts once."""
    findings = dict.fromkeys(finding for outcome in outcomes for finding in outcome.findings)
    why_not = "; ".join(outcome.why_not for outcome in outcomes if outcome.why_not)
    return Outcome(outcomes[0].what, sum(outcome.packages for outcome in outcomes), tuple(findings), why_not)


def audit_npm() -> Outcome:
    """Raises StepFailed when there is no npm or it says nothing readable."""
    return read_npm_audit(_said(["npm", "audit", "--json"], FRONTEND))


def _said(argv: list[str | Path], folder: Path) -> str:
    """Output of a tool that exits with 1 when it found something."""
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=_AUDIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepFailed(f"{argv[0]} cannot be run: {error}") from None
    if not done.stdout.strip():
        raise StepFailed(f"{argv[0]} reported nothing (exit code {done.returncode}): {done.stderr.strip()[-500:]}")
    return done.stdout


def _pip_audit() -> Path:
    """pip-audit in an environment of its own in the cache, by its hash-checked list."""
    home = cache_dir() / "audit"
    wanted = stamp(home / ".agui-stamp", [TOOL], sys.version)
    program = home / "bin" / "pip-audit"
    with only_one(home.with_suffix(".lock"), "the installation of pip-audit"):
        if wanted.is_current() and os.access(program, os.X_OK):
            return program
        uv = find_uv()
        with tempfile.TemporaryDirectory(prefix="agui-audit-") as folder:
            log = Path(folder) / "log"
            run_step("making a place for pip-audit", [uv, "venv", "--clear", home], estimate_s=2, log=log)
            argv: list[str | Path] = [uv, "pip", "sync", "--require-hashes", "--python", home / "bin" / "python", TOOL]
            run_step("installing pip-audit", argv, estimate_s=10, log=log)
        wanted.write()
    return program


def told(outcomes: list[Outcome]) -> tuple[list[str], int]:
    """The lines to print and the exit code: FOUND, else NOT_CHECKED, else 0."""
    lines = []
    for outcome in outcomes:
        if outcome.why_not:
            lines.append(f"{outcome.what}: NOT CHECKED: {outcome.why_not}")
        if outcome.findings:
            lines.append(f"{outcome.what}: {len(outcome.findings)} advisories for {outcome.packages} packages")
            lines += [f"  {finding}" for finding in outcome.findings]
        elif not outcome.why_not:
            lines.append(f"{outcome.what}: no advisory for {outcome.packages} packages")
    if any(outcome.findings for outcome in outcomes):
        return lines, FOUND
    return lines, NOT_CHECKED if any(outcome.why_not for outcome in outcomes) else 0


def main(parts: tuple[Callable[[], Outcome], ...] = (audit_python, audit_npm)) -> int:
    outcomes = []
    for part, what in zip(parts, ("Python", "npm"), strict=True):
        try:
            outcomes.append(part())
        except (StepFailed, ValueError, LookupError, TypeError) as error:
            outcomes.append(Outcome(what, why_not=str(error) or type(error).__name__))
    lines, code = told(outcomes)
    for line in lines:
        print(line)
    if code == NOT_CHECKED:
        say("What was not checked is not known to be free of advisories. Run `make audit` where the database answers.")
    return code


if __name__ == "__main__":
    sys.exit(main())

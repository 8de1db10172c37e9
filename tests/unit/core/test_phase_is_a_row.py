"""A new phase needs three files: its row in core/rollout.py, its entry in core/phases/__init__.py, and its logic.

The test adds a phase to a copy of the package. mypy finds every other place that would have to change, and a script
walks a rollout through the new phase.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import agui_operator
from agui_operator.core.rollout import IN_FLIGHT, PHASES, TIMELINE, TRANSITIONS, Phase
from agui_operator.core.status import C

SUPPORT = Path(__file__).parents[2] / "support"
ROLLOUT, TABLE, LOGIC = "core/rollout.py", "core/phases/__init__.py", "core/phases/verifying.py"

# for each file that is changed: the line before which the text is inserted, and the text
INSERTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    ROLLOUT: (
        ('    PROGRESSING = "Progressing"\n', '    VERIFYING = "Verifying"\n'),
        ("    P.PROGRESSING: {\n", "    P.VERIFYING: {E.SUCCEEDED: P.PROGRESSING, **_BEFORE_TRAFFIC},\n"),
        (
            "    P.PROGRESSING: PhaseSpec(\n",
            '    P.VERIFYING: PhaseSpec(\n        kind=_K.IN_FLIGHT,\n        meaning="a backup is verified",\n'
            '        looks_at=frozenset({_L.BACKUP}),\n        stage="The backup is verified",\n    ),\n',
        ),
    ),
    TABLE: (
        (
            "        case Phase.PROGRESSING:\n",
            "        case Phase.VERIFYING:\n            return verifying.VERIFYING\n",
        ),
        ("from agui_operator.core.phases.case ", "from agui_operator.core.phases import verifying\n"),
    ),
}
VERIFYING = """
from agui_operator.core.actions import BackupTaken
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.rollout import Event


def _verified(case: Case) -> Happened | None:
    return (Event.SUCCEEDED, None) if case.seen.backup is not None else None


def _verify(case: Case) -> Actions:
    return () if case.seen.backup is not None else (BackupTaken("main", "verified"),)


VERIFYING = Logic(_verified, _verify)
"""
WALK = """
import json
from dataclasses import replace

import agui_operator
from agui_operator.core.decide import read_event
from agui_operator.core.diagram import render
from agui_operator.core.forecast import forecast
from agui_operator.core.looks import looks
from agui_operator.core.memory import Memory, from_status
from agui_operator.core.phases.case import Case
from agui_operator.core.rollout import Phase
from agui_operator.core.status import Inputs, summarize
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.timeline import timeline
from world_model import FIRST, NAMES, NOW, SECOND, Luck, World, blueprint, look, start_second

before = Memory(phase=Phase.SMOKING, since=NOW, started=NOW, candidate=SECOND, stable=FIRST)
memory = replace(before, phase=Phase("Verifying"))
seen = replace(look(World(memory, start_second().cloud), Luck()), backup=None)
plan = blueprint(memory, "fp-b")
foreseen = forecast(before, seen, lambda of: blueprint(of, "fp-b"), NAMES, NOW)
late = read_event(Case(memory, seen, plan, NAMES, NOW + 2 * plan.progress_deadline))
status = summarize(Inputs(memory, 1, NOW, {}, plan=plan, seen=seen))
conditions = {c["type"]: c["status"] for c in status["conditions"]}
spec = {"smoke": [{"name": "page"}], "strategy": {"canary": {"steps": [{"setWeight": 50}]}}}
entry = Entry(1, "u", "demo", "concierge", spec=spec, status=status)
stages = {stage.name: stage.mark for stage in timeline(entry)}
print(json.dumps({
    "package": agui_operator.__file__,
    "actions": [type(f.action).__name__ for f in foreseen.actions if f.phase == "Verifying"],
    "ends_in": foreseen.ends_in,
    "late": late and late[0],
    "remembered": from_status(status).phase,
    "looks": sorted(looks(memory, drift=False)),
    "conditions": [conditions[c] for c in ("SmokePassed", "AnalysisPassed")],
    "stages": [stages[s] for s in ("Smoking", "Verifying", "Progressing")],
    "described": "| Verifying | in flight | a backup is verified |" in render(),
    "waits": status["waitingFor"]["what"],
}))
"""


def copied(folder: Path, changed: Mapping[str, tuple[tuple[str, str], ...]]) -> Path:
    """A copy of the operator's package with a phase between Smoking and Progressing."""
    package = folder / "agui_operator"
    shutil.copytree(Path(agui_operator.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, insertions in changed.items():
        text = (package / name).read_text()
        for anchor, new in insertions:
            assert text.count(anchor) == 1, (name, anchor)
            text = text.replace(anchor, new + anchor)
        if name == ROLLOUT:
            smoking = "P.SMOKING: {E.SUCCEEDED: P.PROGRESSING,"
            assert smoking in text
            text = text.replace(smoking, smoking.replace("P.PROGRESSING", "P.VERIFYING"))
        (package / name).write_text(text)
    (package / LOGIC).write_text(VERIFYING)
    return package


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Without coverage, which would record files that are gone when it reports."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    env["PYTHONPATH"] = os.pathsep.join((str(folder), str(SUPPORT)))
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=False
    )


def type_errors(folder: Path) -> list[str]:
    """The files of the operator that mypy finds an error in. Third-party packages are not read: it is the `match`
    statements that count."""
    (folder / "mypy.ini").write_text("[mypy]\nfollow_imports = skip\nignore_missing_imports = true\n")
    found = run(folder, "-m", "mypy", "--no-error-summary", "agui_operator")
    assert found.returncode in (0, 1), found.stderr
    return sorted({line.partition(":")[0].removeprefix("agui_operator/") for line in found.stdout.splitlines()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phase")


def test_a_new_phase_needs_three_files(folder: Path) -> None:
    package = copied(folder, INSERTED)
    original = Path(agui_operator.__file__).parent
    changed = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if not (original / path.relative_to(package)).exists()
        or path.read_bytes() != (original / path.relative_to(package)).read_bytes()
    }
    assert changed == {ROLLOUT, TABLE, LOGIC}
    assert type_errors(folder) == []
    done = run(folder, "-c", WALK)
    assert done.returncode == 0, done.stderr
    walked: dict[str, Any] = json.loads(done.stdout)
    assert Path(walked.pop("package")).parent == package
    assert walked == {
        "actions": ["BackupTaken"],
        "ends_in": "Healthy",
        "late": "DeadlineExceeded",
        "remembered": "Verifying",
        "looks": ["backup"],
        "conditions": ["True", "Unknown"],
        "stages": ["done", "current", "ahead"],
        "described": True,
        "waits": "Verifying to end",
    }


def test_a_phase_without_logic_is_a_type_error(tmp_path: Path) -> None:
    copied(tmp_path, {ROLLOUT: INSERTED[ROLLOUT]})
    assert type_errors(tmp_path) == [TABLE]


def test_every_phase_has_its_rows() -> None:
    assert set(PHASES) == set(TRANSITIONS) == set(Phase)
    for phase in IN_FLIGHT:
        assert (phase in TIMELINE) != (PHASES[phase].part_of in TIMELINE), phase
    conditions = [spec.condition for spec in PHASES.values() if spec.condition is not None]
    assert len(conditions) == len(set(conditions))
    assert all(spec.done_text for spec in PHASES.values() if spec.condition is not None)
    assert C.READY not in conditions

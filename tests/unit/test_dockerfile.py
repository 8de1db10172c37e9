"""What every image promises, read from the Dockerfile: tests first, nobody runs as root, nothing needs a shell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).parent / "hadolint"
RUNNABLE = {"app": "app-tests", "operator": "operator-tests", "e2e": "browser-tests"}
LABELS = (
    *("title", "description", "licenses", "version", "revision", "source", "created"),
    *("base.name", "base.digest"),
)
HOST = re.compile(r"https?://|\b[\w-]+\.(?:io|com|org|net|dev)/", re.IGNORECASE)


@dataclass(frozen=True)
class Stage:
    """A stage and its instructions: ("COPY", "--from=a /b /c")."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def of(self, word: str) -> list[str]:
        return [rest for name, rest in self.steps if name == word]


def stages_of(text: str) -> dict[str, Stage]:
    """The stages of a Dockerfile, by name."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = [line.strip() for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    found: dict[str, Stage] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base, ())
        elif found:
            last = found[next(reversed(found))]
            found[last.name] = Stage(last.name, last.base, (*last.steps, (word, rest.strip())))
    return found


STAGES = stages_of(DOCKERFILE.read_text())


def needed_by(name: str) -> set[str]:
    """All stages that a builder has to build for `name`."""
    stage = STAGES[name]
    direct = {stage.base} | {m for rest in stage.of("COPY") for m in re.findall(r"--from=(\S+)", rest)}
    return {name}.union(*(needed_by(other) for other in direct if other in STAGES))


def test_hadolint_finds_nothing() -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed in this environment")
    try:
        subprocess.run([HADOLINT, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"hadolint's program does not run on this machine: {exc}")
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("target", "tests"), RUNNABLE.items())
def test_no_image_without_its_tests(target: str, tests: str) -> None:
    assert tests in needed_by(target)
    assert any("touch /tests-passed" in step for step in STAGES[tests].of("RUN"))
    assert "app-tests" in needed_by("migrations")
    assert "browser-tests" in needed_by("bundle")


@pytest.mark.parametrize("target", [*RUNNABLE, "migrations"])
def test_nobody_runs_as_root(target: str) -> None:
    stage = STAGES[target]
    users = stage.of("USER") or STAGES[stage.base].of("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1]), "user and group as numbers, or the group stays root's"


@pytest.mark.parametrize("target", [*RUNNABLE, "migrations"])
def test_nothing_needs_a_shell(target: str) -> None:
    commands = [*STAGES[target].of("CMD"), *STAGES[target].of("ENTRYPOINT")]
    words = [json.loads(command) for command in commands]
    assert words
    assert not {"sh", "bash", "/bin/sh", "npx"} & {word for command in words for word in command}


@pytest.mark.parametrize("target", ["app", "migrations", "operator", "bundle"])
def test_final_stages_only_copy(target: str) -> None:
    """A RUN leaves logs, caches and times behind, which differ from build to build."""
    assert STAGES[target].of("RUN") == []


@pytest.mark.parametrize("target", RUNNABLE)
def test_labels_are_complete_and_last(target: str) -> None:
    (labels,) = STAGES[target].of("LABEL")
    assert [name for name in LABELS if f"org.opencontainers.image.{name}=" not in labels] == []
    words = [word for word, _ in STAGES[target].steps]
    assert "COPY" not in words[words.index("ARG") :], "an ARG that changes with each commit costs the layers after it"


@pytest.mark.parametrize("target", ["app", "operator"])
def test_no_tool_of_the_tests_is_shipped(target: str) -> None:
    sources = {m for rest in STAGES[target].of("COPY") for m in re.findall(r"--from=(\S+)", rest)}
    assert STAGES[f"{target}-dependencies"].base == "tools"
    shipped = [rest for rest in STAGES[target].of("COPY") if "/opt" in rest and "sbom.cdx.json" not in rest]
    assert shipped == []
    assert sources == {f"{target}-{part}" for part in ("tests", "dependencies", "sbom", "code")}


def test_packages_are_checked_by_hash() -> None:
    installs = [run for stage in STAGES.values() for run in stage.of("RUN") if "pip install" in run]
    assert len(installs) >= 5
    assert [run for run in installs if "--require-hashes" not in run] == []


@pytest.mark.parametrize("target", ["app", "operator"])
def test_a_bill_of_materials_holds_the_packages_of_the_base_that_is_shipped(target: str) -> None:
    (copied,) = (rest for rest in STAGES[target].of("COPY") if "sbom.cdx.json" in rest)
    stage = STAGES[f"{target}-sbom"]
    assert f"--from={stage.name}" in copied
    (run,) = stage.of("RUN")
    assert run.endswith("python3 /opt/debian.py /var/lib/dpkg/status /etc/os-release /opt/sbom.cdx.json")
    below, steps = stage, list(stage.of("RUN"))
    while below.base in STAGES:
        below = STAGES[below.base]
        steps += below.of("RUN")
    assert below.base == STAGES[target].base == "${BASE}"
    assert not [step for step in steps if "apt" in step.split()], "a package that is not shipped"


def test_every_copied_path_exists_and_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in STAGES.values():
        for rest in stage.of("COPY"):
            if "--from=" in rest:
                continue
            for path in rest.split()[:-1]:
                assert (ROOT / path).exists(), path
                assert path == "." or path.split("/")[0] in let_in, f"{path} is kept out by .dockerignore"


def test_no_host_of_a_registry_is_named() -> None:
    assert [line for line in DOCKERFILE.read_text().splitlines() if HOST.search(line.replace("docs/", ""))] == []

"""The images as a registry would get them: really built, started as the user they name, against a real PostgreSQL.

Runs where buildah and a base image are (`python3 dev/agui_dev/bootstrap.py --only images` makes both ready);
AGUI_IMAGES=1 adds the builds that take minutes.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
import pytest

from agui_dev.images import debian
from agui_dev.images.base import digest_of, find_python_base, python_base
from agui_dev.images.build import FILE_TIME, Bases, Image, Sources, build
from agui_dev.images.container import Container, container, innermost
from agui_dev.images.sbom import read_sbom
from agui_dev.images.store import Store, open_store, why_unavailable
from agui_dev.ports import free_port
from agui_dev.steps import StepFailed
from agui_dev.testbed.app_instance import json_lines
from agui_dev.testbed.postgres import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]  # builds have a low priority
ROOT = Path(__file__).resolve().parents[2]
SOURCES = Sources(version("agui-operator"), "f" * 40, "https://example.com/agui", 1_700_000_000)
ALL_OF_IT = os.environ.get("AGUI_IMAGES") == "1"
# Every Debian has these for everybody; on Cloud Run they are memory of the instance.
OPEN_TO_ALL = {"/tmp", "/var/tmp", "/run/lock"}
LOOK_AROUND = """
import json, os
places = []
for top, folders, files in os.walk("/"):
    if top == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
    here = [top, *(os.path.join(top, name) for name in files)]
    places += [path for path in here if os.access(path, os.W_OK) and not os.path.islink(path)]
print(json.dumps({"user": [os.getuid(), os.getgid(), *os.getgroups()], "writable": places}))
"""
INSTALLED = """
import importlib.metadata as m, json
print(json.dumps({d.name.lower().replace("_", "-"): d.version for d in m.distributions()}))
"""


@dataclass(frozen=True)
class Images:
    """What one run of these tests built; gone afterwards."""

    store: Store
    base: str
    context: Path
    of: dict[str, Image]


def tagged(target: str) -> str:
    return f"localhost/agui-test-{target}:{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def store() -> Store:
    if reason := why_unavailable():
        pytest.skip(reason)
    opened = open_store()
    if not ALL_OF_IT and opened.driver == "vfs":
        pytest.skip("Only buildah's slow vfs driver works here; AGUI_IMAGES=1 builds with it.")
    if not ALL_OF_IT and find_python_base(opened) is None:
        pytest.skip("There is no base image yet; `python3 dev/agui_dev/bootstrap.py --only images` makes one.")
    return opened


def copy_context(folder: Path, source: Path = ROOT) -> Path:
    """The sources, without what no build reads."""
    skip = shutil.ignore_patterns(".*", "node_modules", "build", "dist", "__pycache__")
    shutil.copytree(source, folder, ignore=skip, symlinks=True)
    shutil.copy(source / ".dockerignore", folder / ".dockerignore")
    return folder


@pytest.fixture(scope="module")
def images(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    base, context = python_base(store), copy_context(tmp_path_factory.mktemp("images") / "context")
    built: dict[str, Image] = {}
    try:
        for target in ("app", "migrations", "operator"):
            built[target] = build(
                store, target, context=context, sources=SOURCES, tag=tagged(target), bases=Bases(base)
            )
        yield Images(store, base, context, built)
    finally:
        for image in built.values():
            store.read("rmi", "--force", image.name)


def json_of(made: Container, code: str) -> dict[str, object]:
    done = made.run(["python", "-c", code])
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, images: Images) -> Iterator[str]:
    """A database that the migrations image brought to its head, twice: a job may be repeated."""
    url = postgres_server.create_database()
    with container(images.store, images.of["migrations"].name) as made:
        for command in (made.command, (*made.command, "--seeds")):
            done = made.run(command, {"DATABASE_URL": url})
            assert done.returncode == 0, done.stdout + done.stderr
            assert json_lines(done.stdout)[-1]["event"] == "migrated"
        lines = json_lines(done.stdout)
        assert lines[-1]["from"] == lines[-1]["to"] is not None
    yield url
    postgres_server.drop_database(url)


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> float:
    """Seconds until `url` answers 200."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        assert child.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=60).status_code == 200:
                return time.monotonic() - started
        except httpx.HTTPError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} did not answer 200 in {seconds:g} s: {log.read_text()}")


def test_the_application_serves_without_root_and_without_a_shell(images: Images, database: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "app.log"
    settings = {"DATABASE_URL": database, "PORT": str(port), "HOST": "127.0.0.1"}
    with container(images.store, images.of["app"].name) as made:
        top = Path(images.store.read("mount", made.name))
        for shell in ("dash", "sh", "bash"):
            (top / "usr/bin" / shell).unlink()
        images.store.read("umount", made.name)
        with made.running(log, settings) as child:
            wait_for(f"http://127.0.0.1:{port}/healthz", child, log)
            wait_for(f"http://127.0.0.1:{port}/readyz", child, log)
            inside = innermost(child.pid)
            assert inside is not None
            assert (set(inside.uids()), set(inside.gids())) == ({10001}, {10001})
            built = httpx.get(f"http://127.0.0.1:{port}/version", timeout=60).json()
            assert built["version"] == SOURCES.version
        assert child.returncode == 0, log.read_text()
        assert not psutil.pid_exists(inside.pid)


@pytest.mark.parametrize(("target", "user"), [("app", 10001), ("migrations", 10001), ("operator", 65532)])
def test_nothing_but_scratch_folders_can_be_written(images: Images, target: str, user: int) -> None:
    with container(images.store, images.of[target].name) as made:
        seen = json_of(made, LOOK_AROUND)
        assert made.user == f"{user}:{user}"
    assert seen["user"] == [user, user, user]
    assert isinstance(seen["writable"], list)
    assert set(seen["writable"]) <= OPEN_TO_ALL


def test_the_operator_says_what_it_is(images: Images) -> None:
    with container(images.store, images.of["operator"].name) as made:
        assert made.command == ("python", "-m", "agui_operator", "run")
        entry = made.command[:3]
        assert SOURCES.version in made.run([*entry, "--version"]).stdout
        helped = made.run([*entry, "plan", "--help"])
        assert helped.returncode == 0
        assert "Changes nothing" in helped.stdout
        without_login = made.run([*entry, "run"])
        assert without_login.returncode != 0, "there is no cluster to log in to"


@pytest.mark.parametrize("target", ["app", "operator"])
def test_the_bill_of_materials_is_what_is_installed(images: Images, target: str) -> None:
    bill = read_sbom(images.store, images.of[target].name)
    python = [part for part in bill["components"] if part.get("purl", "").startswith("pkg:pypi/")]
    listed = {part["name"].lower().replace("_", "-"): part["version"] for part in python}
    own = f"agui-{target}"
    with container(images.store, images.of[target].name) as made:
        installed = json_of(made, INSTALLED)
    assert installed.pop(own) == SOURCES.version
    assert listed == installed
    assert bill["metadata"]["component"]["name"] == own
    locked = (ROOT / "requirements" / f"{target}.txt").read_text()
    allowed = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)}
    assert set(installed) <= allowed, "a tool of the tests is shipped"


@pytest.mark.parametrize("target", ["app", "migrations", "operator"])
def test_the_bill_of_materials_has_every_debian_package(images: Images, target: str) -> None:
    bill = read_sbom(images.store, images.of[target].name)
    parts = [part for part in bill["components"] if part.get("purl", "").startswith("pkg:deb/")]
    with container(images.store, images.of[target].name) as made:
        installed = {p["Package"]: p["Version"] for p in debian.installed(made.read("/var/lib/dpkg/status").decode())}
    assert len(installed) > 50
    assert {part["name"]: part["version"] for part in parts} == installed
    assert [part["name"] for part in bill["components"] if part["type"] == "operating-system"] == ["debian"]


@pytest.mark.parametrize("target", ["app", "migrations", "operator"])
def test_labels_say_where_it_comes_from(images: Images, target: str) -> None:
    found = images.store.find(images.of[target].name)
    assert found is not None
    labels = found["OCIv1"]["config"]["Labels"]
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert told["revision"] == SOURCES.revision
    assert told["source"] == SOURCES.address
    assert told["created"] == "2023-11-14T22:13:20Z"
    assert (told["base.name"], told["base.digest"]) == (images.base, digest_of(images.store, images.base))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", told["base.digest"])
    assert told["licenses"] == "Apache-2.0"
    assert told["title"]
    assert told["description"]


def test_a_failing_test_leaves_no_image(images: Images, tmp_path: Path) -> None:
    context = copy_context(tmp_path / "context", images.context)
    (context / "tests/unit/app/test_app_planted.py").write_text("def test_planted():\n    assert 1 == 2, 'planted'\n")
    name = tagged("app")
    with pytest.raises(StepFailed, match="test_planted"):
        build(images.store, "app", context=context, sources=SOURCES, tag=name, bases=Bases(images.base))
    assert not images.store.has(name)


@pytest.mark.parametrize("target", ["app", "operator"])
def test_the_same_sources_give_the_same_layers(images: Images, target: str, tmp_path: Path) -> None:
    if not ALL_OF_IT:
        pytest.skip("Two builds without a cache take minutes; AGUI_IMAGES=1 runs them.")
    context = copy_context(tmp_path / "elsewhere", images.context)
    for path in context.rglob("*.py"):
        os.utime(path, (FILE_TIME, FILE_TIME))
    name = tagged(target)
    try:
        again = build(
            images.store, target, context=context, sources=SOURCES, tag=name, bases=Bases(images.base), cached=False
        )
        assert again.layers == images.of[target].layers
    finally:
        if images.store.has(name):
            images.store.read("rmi", "--force", name)


@pytest.fixture
def page(images: Images, tmp_path: Path) -> Path:
    """The page as it is in the bundle's image."""
    if not ALL_OF_IT:
        pytest.skip("Chromium's image takes minutes to build; AGUI_IMAGES=1 builds it.")
    name = tagged("bundle")
    try:
        build(images.store, "bundle", context=images.context, sources=SOURCES, tag=name, bases=Bases(images.base))
        with container(images.store, name) as made:
            packed = made.read(f"/concierge-{SOURCES.version}.tar.gz")
    finally:
        if images.store.has(name):
            images.store.read("rmi", "--force", name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "page", filter="data")
    manifest = json.loads((tmp_path / "page/manifest.json").read_text())
    assert (manifest["version"], manifest["revision"]) == (SOURCES.version, SOURCES.revision)
    return tmp_path / "page"


def test_the_browser_image_checks_a_deployed_page(images: Images, page: Path, database: str, tmp_path: Path) -> None:
    """Application, page and browser each from its image; only what stands between them is Vite's."""
    vite = ROOT / "frontend/node_modules/.bin/vite"
    if not vite.exists():
        pytest.skip("frontend/node_modules is not installed.")
    backend, front, log = free_port(), free_port(), tmp_path / "app.log"
    settings = {"DATABASE_URL": database, "PORT": str(backend), "HOST": "127.0.0.1"}
    name = tagged("e2e")
    build(images.store, "e2e", context=images.context, sources=SOURCES, tag=name, bases=Bases(images.base))
    try:
        with (
            container(images.store, images.of["app"].name) as app,
            container(images.store, name) as browser,
            app.running(log, settings) as child,
        ):
            wait_for(f"http://127.0.0.1:{backend}/readyz", child, log)
            argv = [vite, "preview", "--outDir", page, "--host", "127.0.0.1", "--strictPort", "--port", str(front)]
            env = {**os.environ, "AGUI_BACKEND": f"http://127.0.0.1:{backend}"}
            with (tmp_path / "vite.log").open("wb") as out:
                server = subprocess.Popen(argv, cwd=ROOT / "frontend", env=env, stdout=out, stderr=out)
            try:
                wait_for(f"http://127.0.0.1:{front}/", server, tmp_path / "vite.log")
                assert browser.user == "10001:10001"
                done = browser.run(env={"E2E_BASE_URL": f"http://127.0.0.1:{front}"}, timeout_s=240)
                assert done.returncode == 0, done.stdout + done.stderr
                assert re.search(r"[1-9]\d* passed", done.stdout), done.stdout
                nowhere = browser.run(env={"E2E_BASE_URL": f"http://127.0.0.1:{free_port()}"}, timeout_s=240)
                assert nowhere.returncode != 0
            finally:
                server.terminate()
                server.wait(60)
    finally:
        images.store.read("rmi", "--force", name)

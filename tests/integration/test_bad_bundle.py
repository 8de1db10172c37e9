"""A bundle that is not exactly what it says it is: refused before anything is uploaded, with the file named, and the
stable release stays as it was."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Callable

import pytest

from agui_dev.testbed import bundle_bombs as bombs
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import ARTIFACTS, AT_ONCE, NAME, bundle, full_release
from agui_dev.testbed.system import System
from bundle_archives import Files, Json, listed, packed, unpacked

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

SCRIPT = "assets/late.js"


def a_missing_file(files: Files, manifest: Json) -> bytes:
    manifest["files"].append(listed(SCRIPT, b"late", "text/javascript"))
    return packed(files, manifest)


def a_changed_file(files: Files, manifest: Json) -> bytes:
    manifest["files"].append(listed(SCRIPT, b"late", "text/javascript"))
    return packed({**files, SCRIPT: b"liar"}, manifest)


def a_file_of_another_type(files: Files, manifest: Json) -> bytes:
    manifest["files"].append(listed(SCRIPT, b"late", "text/html"))
    return packed({**files, SCRIPT: b"late"}, manifest)


def an_absolute_path(files: Files, manifest: Json) -> bytes:
    return packed(files, manifest, tarfile.TarInfo("/etc/cron.d/late"))


def a_way_out(files: Files, manifest: Json) -> bytes:
    return packed(files, manifest, tarfile.TarInfo("assets/../../late.js"))


def a_link(files: Files, manifest: Json) -> bytes:
    link = tarfile.TarInfo(SCRIPT)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return packed(files, manifest, link)


def a_huge_file(files: Files, manifest: Json) -> bytes:
    huge = tarfile.TarInfo(SCRIPT)
    huge.size = 64 * 1024 * 1024
    return packed(files, manifest, huge)


def a_bomb(files: Files, manifest: Json) -> bytes:
    return bombs.extended(tarfile.XHDTYPE, 400 * bombs.MB)


def another_runtime_url(files: Files, manifest: Json) -> bytes:
    manifest["runtimeUrl"] = "https://staging.example.com/copilotkit"
    return packed(files, manifest)


@pytest.fixture(scope="module")
def place(system: System) -> str:
    """Where a release is stable, with its page."""
    place = system.case()
    system.api.apply(full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE))
    return place


def publish(system: System, name: str, data: bytes) -> Json:
    """Puts an archive where releases name it; its reference."""
    path = f"/upload/storage/v1/b/{ARTIFACTS}/o?uploadType=media&name={urllib.parse.quote(name, safe='')}"
    request = urllib.request.Request(system.endpoint + path, data, {"Content-Type": "application/gzip"}, method="POST")
    with urllib.request.urlopen(request, timeout=30):
        return {"object": name, "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        pytest.param(a_missing_file, SCRIPT, id="missing"),
        pytest.param(a_changed_file, SCRIPT, id="changed"),
        pytest.param(a_file_of_another_type, SCRIPT, id="wrong type"),
        pytest.param(an_absolute_path, "/etc/cron.d/late", id="absolute path"),
        pytest.param(a_way_out, "assets/../../late.js", id="way out"),
        pytest.param(a_link, SCRIPT, id="symlink"),
        pytest.param(a_huge_file, SCRIPT, id="huge"),
        pytest.param(a_bomb, "a header of the archive has 419430400 bytes", id="bomb"),
        pytest.param(another_runtime_url, "https://staging.example.com/copilotkit", id="wrong runtime URL"),
    ],
)
def test_it_is_refused_by_name_before_anything_is_uploaded(
    system: System, place: str, spoil: Callable[[Files, Json], bytes], named: str
) -> None:
    stable = system.api.until(place, NAME, lambda d: (d.get("status") or {}).get("stable"), "v1 stable")["status"][
        "stable"
    ]
    page = system.get(place, "/")
    archive = spoil(*unpacked(bundle("v2")[0]))
    reference = publish(system, f"bundles/{place}-{spoil.__name__}.tar.gz", archive)
    since = system.position
    parts = {"migrations": None, "strategy": AT_ONCE, "frontend": {"bundle": reference}}
    system.api.apply(full_release(place, "v1", version=spoil.__name__, **parts))
    found = system.api.until(
        place,
        NAME,
        lambda d: named in condition(d, "Ready")["message"] and d["spec"]["frontend"]["bundle"] == reference,
        f"Ready=False that names {named}",
    )
    assert (condition(found, "Ready")["status"], condition(found, "Ready")["reason"]) == ("False", "BundleRefused")
    assert [c["method"] for c in system.calls(since) if c["method"].startswith("storage.objects")] == []
    assert found["status"]["stable"] == stable
    assert system.get(place, "/") == page

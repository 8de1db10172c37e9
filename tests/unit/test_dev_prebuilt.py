"""The download of prebuilt programs: the right archive, checked; and a network without it costs seconds, once a day."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import tarfile
import time
import urllib.error
from pathlib import Path

import pytest
import yaml

from agui_dev.controlplane import prebuilt
from agui_dev.controlplane.binaries import Binaries, locate, prebuilt_folder
from agui_dev.controlplane.prebuilt import INDEX_URL, Archive, choose, obtain, unpack
from agui_dev.controlplane.versions import kubernetes_version

SYSTEM, MACHINE = platform.system().lower(), prebuilt.MACHINES.get(platform.machine().lower(), platform.machine())


def entry(version: str) -> dict[str, dict[str, str]]:
    name = f"envtest-{version}-linux-amd64.tar.gz"
    return {name: {"hash": f"hash of {version}", "selfLink": f"https://example.test/{name}"}}


def archive_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            bundle.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("controller-tools/envtest/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    return buffer.getvalue()


class Network:
    """Serves what is in `pages`, counts the requests; anything else can't be reached."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages
        self.asked: list[tuple[str, float]] = []

    def __call__(self, url: str, timeout_s: float) -> bytes:
        self.asked.append((url, timeout_s))
        if url not in self.pages:
            raise urllib.error.URLError("no route to host")
        return self.pages[url]


def network(body: bytes, sha512: str | None = None) -> Network:
    version = kubernetes_version()
    url = "https://example.test/envtest.tar.gz"
    name = f"envtest-{version}-{SYSTEM}-{MACHINE}.tar.gz"
    release = {name: {"hash": sha512 or hashlib.sha512(body).hexdigest(), "selfLink": url}}
    return Network({INDEX_URL: yaml.safe_dump({"releases": {version: release}}).encode(), url: body})


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        (["v1.36.0", "v1.36.3", "v1.36.11"], "v1.36.3"),
        (["v1.36.2", "v1.36.11", "v1.37.0", "v1.36.12-rc.0"], "v1.36.11"),
        (["v1.35.3", "v1.37.0", "v1.3.6"], None),
        ([], None),
    ],
)
def test_the_exact_version_else_the_newest_patch(known: list[str], chosen: str | None) -> None:
    found = choose({"releases": {version: entry(version) for version in known}}, "v1.36.3", "linux", "amd64")
    assert (found.version if found else None) == chosen
    assert found is None or found.sha512 == f"hash of {chosen}"


def test_an_archive_for_another_machine_is_not_taken() -> None:
    assert choose({"releases": {"v1.36.3": entry("v1.36.3")}}, "v1.36.3", "linux", "s390x") is None


def test_members_land_flat_and_runnable_and_links_are_left_out(tmp_path: Path) -> None:
    body = archive_of("controller-tools/envtest/etcd", "../../kube-apiserver")
    (tmp_path / "bin").mkdir()
    unpack(body, Archive("v1", "u", hashlib.sha512(body).hexdigest()), tmp_path / "bin")
    assert sorted(file.name for file in (tmp_path / "bin").iterdir()) == ["etcd", "kube-apiserver"]
    assert os.access(tmp_path / "bin" / "etcd", os.X_OK)
    assert [file.name for file in tmp_path.iterdir()] == ["bin"]


def test_an_altered_archive_is_refused(tmp_path: Path) -> None:
    body = archive_of("etcd")
    with pytest.raises(ValueError, match="SHA-512 differs"):
        unpack(body + b"x", Archive("v1", "u", hashlib.sha512(body).hexdigest()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_found_afterwards_without_controller_manager(tmp_path: Path) -> None:
    env = {"AGUI_CACHE_DIR": str(tmp_path)}
    there = network(archive_of(*(f"controller-tools/envtest/{name}" for name in ("etcd", "kube-apiserver", "kubectl"))))
    assert obtain(env, there)
    found = locate(env)
    assert isinstance(found, Binaries)
    assert (found.origin, found.kube_controller_manager) == ("prebuilt", None)
    requests = len(there.asked)
    assert obtain(env, there)
    assert len(there.asked) == requests, "what is there is not downloaded again"


def test_the_controller_manager_comes_along_if_its_digest_is_right(tmp_path: Path) -> None:
    url = prebuilt.CONTROLLER_MANAGER_URL.format(version=kubernetes_version(), system=SYSTEM, machine=MACHINE)
    digest = hashlib.sha256(b"manager").hexdigest()
    for content, is_there in ((b"manager", True), (b"something else", False)):
        env = {"AGUI_CACHE_DIR": str(tmp_path / str(is_there))}
        there = network(archive_of("etcd", "kube-apiserver", "kubectl"))
        there.pages |= {url: content, f"{url}.sha256": f"{digest}\n".encode()}
        assert obtain(env, there)
        assert (prebuilt_folder(env) / "kube-controller-manager").exists() is is_there


@pytest.mark.parametrize(
    "nothing",
    [
        pytest.param(Network({}), id="unreachable"),
        pytest.param(Network({INDEX_URL: b"<html>sign in</html>: ["}), id="captive-portal"),
        pytest.param(Network({INDEX_URL: yaml.safe_dump({"releases": {}}).encode()}), id="no-such-version"),
        pytest.param(Network({INDEX_URL: b"<html>sign in</html>"}), id="not-an-index"),
        pytest.param(Network({INDEX_URL: b"releases: []"}), id="not-a-mapping"),
        pytest.param(network(archive_of("etcd"), sha512="0" * 128), id="altered"),
        pytest.param(network(b"no archive"), id="no-archive"),
    ],
)
def test_a_no_is_remembered_for_a_day(tmp_path: Path, nothing: Network) -> None:
    env = {"AGUI_CACHE_DIR": str(tmp_path)}
    nothing.asked.clear()
    assert not obtain(env, nothing)
    assert nothing.asked[0] == (INDEX_URL, 3.0), "finding out is bounded to seconds"
    asked = len(nothing.asked)
    assert not obtain(env, nothing)
    assert len(nothing.asked) == asked
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / "controlplane" / "prebuilt-unreachable", (yesterday, yesterday))
    assert not obtain(env, nothing)
    assert len(nothing.asked) > asked
    assert locate({**env, "PATH": ""}) is None


def test_never_means_never(tmp_path: Path) -> None:
    there = network(archive_of("etcd", "kube-apiserver", "kubectl"))
    assert not obtain({"AGUI_CACHE_DIR": str(tmp_path), "AGUI_PREBUILT": "never"}, there)
    assert there.asked == []

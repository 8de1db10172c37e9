"""Prebuilt programs, where the network has them: the archives and index of `setup-envtest`, without needing Go.

Index format: https://github.com/kubernetes-sigs/controller-tools/blob/main/envtest-releases.yaml.
The controller manager is not in those archives; it comes from https://dl.k8s.io, and the control
plane works without it.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import tarfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agui_dev.controlplane import versions
from agui_dev.controlplane.binaries import prebuilt_folder
from agui_dev.steps import only_one, say

INDEX_URL = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
CONTROLLER_MANAGER_URL = "https://dl.k8s.io/release/{version}/bin/{system}/{machine}/kube-controller-manager"
PROBE_SECONDS = 3.0
FORGET_AFTER_SECONDS = 24 * 3600.0
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

Fetch = Callable[[str, float], bytes]


@dataclass(frozen=True, slots=True)
class Archive:
    """One downloadable set of programs; `sha512` is hexadecimal."""

    version: str
    url: str
    sha512: str


def fetch(url: str, timeout_s: float) -> bytes:
    """The body of a GET; the user's proxy settings hold. Raises OSError."""
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body


def choose(index: Mapping[str, Any], version: str, system: str, machine: str) -> Archive | None:
    """The archive for exactly `version`, else for the newest patch of the same minor; None when there is none."""
    wanted = version.removeprefix("v").split(".")

    def age(known: str) -> tuple[bool, list[int]]:
        return known == version, [int(part) for part in known.removeprefix("v").split(".")]

    releases: Mapping[str, Mapping[str, Mapping[str, str]]] = index["releases"]
    candidates = [
        known
        for known in releases
        if known.removeprefix("v").split(".")[:2] == wanted[:2] and known.removeprefix("v").replace(".", "").isdigit()
    ]
    for known in sorted(candidates, key=age, reverse=True):
        entry = releases[known].get(f"envtest-{known}-{system}-{machine}.tar.gz")
        if entry is not None:
            return Archive(known, entry["selfLink"], entry["hash"])
    return None


def unpack(body: bytes, archive: Archive, folder: Path) -> None:
    """Write the programs into `folder`, flat. Raises ValueError when the archive isn't the one that the index names."""
    if hashlib.sha512(body).hexdigest() != archive.sha512:
        raise ValueError(f"{archive.url} is not what the index says (SHA-512 differs); it is not used")
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as bundle:
        for member in bundle:
            content = bundle.extractfile(member) if member.isfile() else None
            if content is not None:
                # Only the last part of the name counts, so no member can leave the folder.
                _write_program(folder / Path(member.name).name, content.read())


def _write_program(target: Path, body: bytes) -> None:
    target.write_bytes(body)
    target.chmod(0o755)


def obtain(environ: Mapping[str, str] = os.environ, get: Fetch = fetch) -> bool:
    """Download into `prebuilt_folder()`; False when the network has nothing for us.

    Finding out takes PROBE_SECONDS at most, and a "no" is remembered for a day (`AGUI_PREBUILT=never` says no at once).
    """
    if environ.get("AGUI_PREBUILT") == "never":
        return False
    target = prebuilt_folder(environ).parent
    unreachable = target.parent / "prebuilt-unreachable"
    if unreachable.exists() and time.time() - unreachable.stat().st_mtime < FORGET_AFTER_SECONDS:
        return False
    with only_one(target.parent / "prebuilt.lock", "the download of the control plane"):
        if target.exists():
            return True
        try:
            _download(target, get)
        except (OSError, ValueError, LookupError, yaml.YAMLError, tarfile.TarError) as reason:
            say(f"  no prebuilt control plane: {reason} (asked again in a day)")
            unreachable.touch()
            return False
    return True


def _download(target: Path, get: Fetch) -> None:
    system, machine = platform.system().lower(), MACHINES.get(platform.machine().lower(), platform.machine())
    index = yaml.safe_load(get(INDEX_URL, PROBE_SECONDS))
    if not isinstance(index, dict) or not isinstance(index.get("releases"), dict):
        raise ValueError("what answers in place of the index is no index (a sign-in page?)")
    archive = choose(index, versions.kubernetes_version(), system, machine)
    if archive is None:
        raise LookupError(f"the index has no {versions.kubernetes_version()} for {system}/{machine}")
    say(f"downloading a prebuilt control plane, Kubernetes {archive.version}")
    scratch = target.with_suffix(".loading")
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "bin").mkdir(parents=True)
    unpack(get(archive.url, 60), archive, scratch / "bin")
    url = CONTROLLER_MANAGER_URL.format(version=archive.version, system=system, machine=machine)
    try:
        body, digest = get(url, 60), get(f"{url}.sha256", 10).decode().strip()
        if hashlib.sha256(body).hexdigest() != digest:
            raise ValueError("its SHA-256 differs")
        _write_program(scratch / "bin" / "kube-controller-manager", body)
    except (OSError, ValueError) as reason:
        say(f"  without kube-controller-manager ({reason}): namespaces will not finish deleting")
    scratch.rename(target)

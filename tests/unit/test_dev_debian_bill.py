"""Debian packages in a bill of materials: every installed one, with the source that advisories speak of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agui_dev.images import debian

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: zlib
Version: 1:1.2.13.dfsg-1
Description: compression library - runtime
 Package: not-a-field
 Version: 9

Package: libstdc++6
Status: install ok installed
Source: gcc-12 (12.2.0-14+deb12u1)
Version: 12.2.0-14
Architecture: amd64

Package: removed
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: half
Status: install ok half-installed
Version: 1
Architecture: all
"""
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
PYTHON = {"bomFormat": "CycloneDX", "components": [{"name": "aiohttp", "version": "3", "purl": "pkg:pypi/aiohttp@3"}]}


def test_every_installed_package_is_listed_after_what_was_there() -> None:
    bill = debian.extend(PYTHON, STATUS, OS_RELEASE)
    assert bill["components"][0] == PYTHON["components"][0]
    system, *packages = bill["components"][1:]
    assert (system["type"], system["name"], system["version"]) == ("operating-system", "debian", "12")
    assert [(part["name"], part["version"], part["purl"]) for part in packages] == [
        (
            "libstdc++6",
            "12.2.0-14",
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12",
        ),
        ("zlib1g", "1:1.2.13.dfsg-1", "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64&distro=debian-12"),
    ]
    sources = [{p["name"]: p["value"] for p in part["properties"]} for part in packages]
    assert sources == [
        {"dpkg:source": "gcc-12", "dpkg:source-version": "12.2.0-14+deb12u1"},
        {"dpkg:source": "zlib", "dpkg:source-version": "1:1.2.13.dfsg-1"},
    ]
    refs = [part["bom-ref"] for part in bill["components"][1:]]
    assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("status", ["", "\n\n", "Package: removed\nStatus: deinstall ok config-files\nVersion: 1\n"])
def test_no_package_is_an_error(status: str) -> None:
    with pytest.raises(ValueError, match="no installed package"):
        debian.extend(PYTHON, status, OS_RELEASE)


def test_the_script_needs_nothing_but_python(tmp_path: Path) -> None:
    """A build runs it with the base image's interpreter: -I -S hides every package that is installed here."""
    files = {"status": STATUS, "os-release": OS_RELEASE, "bill.json": json.dumps(PYTHON)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-I", "-S", str(debian.__file__), *(str(tmp_path / name) for name in files)]
    outcomes = []
    for _ in range(2):
        (tmp_path / "bill.json").write_text(json.dumps(PYTHON))
        subprocess.run(command, check=True)
        outcomes.append((tmp_path / "bill.json").read_bytes())
    assert outcomes[0] == outcomes[1], "the same packages give the same bytes"
    assert len(json.loads(outcomes[0])["components"]) == 4

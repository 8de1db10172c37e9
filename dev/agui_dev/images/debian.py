"""Adds the base image's Debian packages to a CycloneDX bill of materials. A build runs it as a script, with nothing but
the base image's Python: `python3 debian.py DPKG_STATUS OS_RELEASE BILL`.

Source: https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def installed(status: str) -> list[dict[str, str]]:
    """The fields of each installed package in dpkg's status file; packages that were removed are left out."""
    found = []
    for paragraph in status.split("\n\n"):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line[0].isspace():
                fields[name] = value.strip()
        if fields.get("Status", "").endswith(" installed"):
            found.append(fields)
    return found


def components(status: str, os_release: str) -> list[Json]:
    """The operating system and its packages as CycloneDX components, by name."""
    told = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    system, release = (told.get(key, "").strip('"') for key in ("ID", "VERSION_ID"))
    distro = f"{system}-{release}"
    parts = [_component(fields, system, distro) for fields in installed(status)]
    of_all: Json = {"type": "operating-system", "bom-ref": f"os:{distro}", "name": system, "version": release}
    return [of_all, *sorted(parts, key=lambda part: str(part["bom-ref"]))]


def extend(bill: Json, status: str, os_release: str) -> Json:
    """A bill with the Debian packages behind what it lists already. Raises ValueError where there are none: a bill
    that says nothing of them would read as one of an image without them."""
    added = components(status, os_release)
    if len(added) < 2:
        raise ValueError("dpkg's status file lists no installed package")
    return {**bill, "components": [*bill.get("components", []), *added]}


def _component(fields: dict[str, str], system: str, distro: str) -> Json:
    name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
    source, _, of_source = fields.get("Source", name).partition(" ")
    source_version = of_source.strip("()") or version
    purl = f"pkg:deb/{system}/{quote(name, safe='')}@{quote(version, safe='')}?arch={machine}&distro={distro}"
    properties = {"dpkg:source": source, "dpkg:source-version": source_version}  # advisories speak of sources
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": [{"name": key, "value": value} for key, value in properties.items()],
    }


def main(status: str, os_release: str, bill: str) -> None:
    path = Path(bill)
    extended = extend(json.loads(path.read_text()), Path(status).read_text(), Path(os_release).read_text())
    path.write_text(json.dumps(extended, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

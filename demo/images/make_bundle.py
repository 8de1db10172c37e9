"""Builds the browser bundles of the demo: `python demo/images/make_bundle.py OUT_DIR`.

Deterministic: the same sources give the same bytes, so that an object's name and its sha256 can stand in a release.
Each bundle is a tar.gz with `index.html` (integrity attributes on every asset), hashed files in `assets/` and
`manifest.json`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "bundle"
RUNTIME_URL = "/copilotkit"
CONTENT_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


@dataclass(frozen=True, slots=True)
class Version:
    """What one bundle shows. `features` are switched on at build time."""

    name: str
    version: str
    accent: str
    features: tuple[str, ...] = ()


VERSIONS = (
    Version("v1", "1.0.0", "#2f5d50"),
    Version("v2", "1.1.0", "#7a4b2a", ("delivery",)),
    Version("v3", "1.2.0", "#3b4d8f", ("delivery",)),
    Version("v4", "1.3.0", "#8a2f4b", ("delivery",)),
    Version("v5", "1.3.1", "#2a6f84", ("delivery",)),
)


def sha384(data: bytes) -> str:
    """Base64 digest as in an integrity attribute (https://www.w3.org/TR/SRI/)."""
    return base64.b64encode(hashlib.sha384(data).digest()).decode()


def fill(text: str, values: dict[str, str]) -> str:
    """Replaces `%NAME%` placeholders."""
    for name, value in values.items():
        text = text.replace(f"%{name}%", value)
    return text


def files_of(version: Version) -> dict[str, bytes]:
    """Path -> bytes of one bundle, manifest included."""
    values = {
        "VERSION": version.version,
        "ACCENT": version.accent,
        "RUNTIME": RUNTIME_URL,
        "FEATURES": json.dumps(version.features),
    }
    files: dict[str, bytes] = {}
    for source in sorted((SOURCE / "assets").iterdir()):
        data = fill(source.read_text(encoding="utf-8"), values).encode()
        name = f"assets/{source.stem}-{hashlib.sha256(data).hexdigest()[:10]}{source.suffix}"
        files[name] = data
        key = source.name.replace(".", "_").upper()
        values[key], values[f"{key}_SRI"] = f"/{name}", f"sha384-{sha384(data)}"
    values["RELEASE"] = hashlib.sha256(b"".join(k.encode() + v for k, v in sorted(files.items()))).hexdigest()[:12]
    files["index.html"] = fill((SOURCE / "index.html").read_text(encoding="utf-8"), values).encode()
    manifest = {
        "schemaVersion": 1,
        "entrypoint": "index.html",
        "runtimeUrl": RUNTIME_URL,
        "version": version.version,
        "files": [
            {"path": path, "sha384": sha384(data), "size": len(data), "contentType": CONTENT_TYPES[Path(path).suffix]}
            for path, data in sorted(files.items())
        ],
    }
    files["manifest.json"] = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    return files


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz without times, owners or a file name in it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as stream:
        stream.write(raw.getvalue())
    return packed.getvalue()


def main(arguments: list[str]) -> int:
    """Writes `concierge-<name>.tar.gz` for every version and prints name and sha256, one a line."""
    if len(arguments) != 1:
        print("usage: make_bundle.py OUT_DIR", file=sys.stderr)
        return 2
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        data = archive(files_of(version))
        name = f"concierge-{version.name}.tar.gz"
        (out / name).write_bytes(data)
        print(f"{name} {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

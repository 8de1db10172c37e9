"""The image catalogue: a local replacement for a container registry, where nothing can pull or run images.

A YAML file gives each tag of a repository its command, its baked environment and the paths whose bytes make its digest;
so a digest changes when, and only when, what would run changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from localgcp.kit.errors import not_found
from localgcp.kit.interfaces import Image

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_EMPTY_HASH = hashlib.sha256(b"{}").hexdigest()
_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


class CatalogueError(Exception):
    """The catalogue file is wrong; the message names file, image and field."""


class Catalogue:
    """Images by reference. A digest that was once seen stays valid while localgcp runs, even when its tag moves on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._tags: dict[str, dict[str, Image]] = {}
        self._digests: dict[tuple[str, str], Image] = {}
        self._manifests: dict[str, bytes] = {}

    @classmethod
    def load(cls, path: Path | None) -> Catalogue:
        """Reads the file at once so that its mistakes are told at start. Raises CatalogueError."""
        catalogue = cls(path)
        catalogue._refresh()
        return catalogue

    def resolve(self, reference: str) -> Image:
        """See interfaces.ImageCatalogue. A reference without tag and digest means `latest`."""
        self._refresh()
        repository, digest = _split_digest(reference)
        if digest:
            if image := self._digests.get((repository, digest)):
                return image
            raise not_found(f"Image '{reference}' not found.")
        repository, tag = _split_tag(repository)
        if image := self._tags.get(repository, {}).get(tag):
            return image
        raise not_found(f"Image '{reference}' not found.")

    def images(self) -> list[Image]:
        """All tagged images, one row per tag."""
        self._refresh()
        return [image for tags in self._tags.values() for image in tags.values()]

    def manifest(self, digest: str) -> bytes:
        """The OCI manifest whose SHA-256 is `digest`. Raises KeyError."""
        return self._manifests[digest]

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            stat = self._path.stat()
        except FileNotFoundError as error:
            raise CatalogueError(f"image catalogue {self._path} does not exist") from error
        if (stamp := (stat.st_mtime_ns, stat.st_size)) == self._stamp:
            return
        self._stamp = stamp
        self._tags = _read(self._path, self._manifests)
        for tags in self._tags.values():
            for image in tags.values():
                self._digests[(image.repository, image.digest)] = image


def _split_digest(reference: str) -> tuple[str, str]:
    repository, _, digest = reference.partition("@")
    return (_split_tag(repository)[0], digest) if digest else (repository, "")


def _split_tag(reference: str) -> tuple[str, str]:
    head, slash, last = reference.rpartition("/")
    name, colon, tag = last.partition(":")
    return head + slash + name, tag if colon else "latest"


def _read(path: Path, manifests: dict[str, bytes]) -> dict[str, dict[str, Image]]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise CatalogueError(f"{path}: not YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), dict):
        raise CatalogueError(f"{path}: expected a mapping with the key `images`")
    if unknown := sorted(set(document) - {"images", "root"}):
        raise CatalogueError(f"{path}: unknown key `{unknown[0]}`; known: images, root")
    root = (path.parent / str(document.get("root", "."))).resolve()
    catalogue: dict[str, dict[str, Image]] = {}
    for repository, tags in document["images"].items():
        images = {}
        for tag, entry in (tags or {}).items():
            image, manifest = _image(path, root, repository, str(tag), entry)
            images[str(tag)] = image
            manifests[image.digest] = manifest
        same = {i.digest: tuple(t for t in images if images[t].digest == i.digest) for i in images.values()}
        catalogue[repository] = {tag: replace(image, tags=same[image.digest]) for tag, image in images.items()}
    return catalogue


def _image(path: Path, root: Path, repository: str, tag: str, entry: Any) -> tuple[Image, bytes]:
    where = f"{path}: {repository}:{tag}"
    if not isinstance(entry, Mapping):
        raise CatalogueError(f"{where}: expected a mapping with command, env, content, working_dir")
    if unknown := sorted(set(entry) - {"command", "env", "content", "working_dir"}):
        raise CatalogueError(f"{where}: unknown key `{unknown[0]}`; known: command, env, content, working_dir")
    command = entry.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise CatalogueError(f"{where}: `command` must be a list of words")
    env = entry.get("env") or {}
    if not isinstance(env, Mapping):
        raise CatalogueError(f"{where}: `env` must be a mapping")
    env = {str(name): str(value) for name, value in env.items()}
    content_hash = hashlib.sha256(json.dumps([command, sorted(env.items())]).encode())
    for content in entry.get("content") or []:
        _digest_content(content_hash, root, str(content), where)
    manifest = _manifest(content_hash.hexdigest())
    words = [word.replace("${ROOT}", str(root)) for word in command]
    if words[0] in ("python", "python3"):
        words[0] = sys.executable
    working_dir = entry.get("working_dir")
    image = Image(
        repository=repository,
        digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        command=tuple(words),
        env={name: value.replace("${ROOT}", str(root)) for name, value in env.items()},
        working_dir=Path(str(working_dir).replace("${ROOT}", str(root))) if working_dir else root,
    )
    return image, manifest


def _manifest(content_hash: str) -> bytes:
    """An OCI image manifest without layers; what the image is stands in an annotation."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{_EMPTY_HASH}", "size": 2}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/vnd.localgcp.process.v1",
        "config": empty,
        "layers": [empty],
        "annotations": {"dev.localgcp.content": f"sha256:{content_hash}"},
    }
    return json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode()


def _digest_content(digest: Any, root: Path, content: str, where: str) -> None:
    base = root / content
    if not base.exists():
        raise CatalogueError(f"{where}: content path `{content}` does not exist below {root}")
    for file in _files(base):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())


def _files(base: Path) -> Iterator[Path]:
    if base.is_file():
        yield base
        return
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        yield from (Path(folder) / name for name in sorted(names) if not name.endswith(".pyc"))

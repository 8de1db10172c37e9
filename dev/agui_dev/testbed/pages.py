"""Which pages the demo publishes: frontend/ built once per version, or the small page where there is no Node.js.

The samples pin the small page, because its bytes need no tool to be made. What really is published is pinned by its
own digest when a sample is applied: a digest in the repository would be wrong after every change of the frontend.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from agui_dev import bundle
from agui_dev.paths import ROOT
from agui_dev.steps import StepFailed

SAMPLES = ROOT / "manifests" / "samples"
_DIGEST = re.compile(r"(?m)^(\s+sha256: )[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Pages:
    """Archives by object name, as the releases name them. `real`: they are the browser application of frontend/."""

    archives: Mapping[str, bytes]
    real: bool

    def pinned(self, sample: str) -> str:
        """A release's manifest with the digest of what is published under the name of its bundle."""
        published = self.archives[bundle_of(sample)]
        return _DIGEST.sub(rf"\g<1>{hashlib.sha256(published).hexdigest()}", sample)


def bundle_of(sample: str) -> str:
    """Name of the object that a release takes its page from."""
    return str(yaml.safe_load(sample)["spec"]["frontend"]["bundle"]["object"])


def releases() -> dict[str, str]:
    """File stem -> text of every release among the samples."""
    return {path.stem: path.read_text() for path in sorted(SAMPLES.glob("release-*.yaml"))}


def make(say: Callable[[str], None], *, small: bool = False) -> Pages:
    """The pages of all releases. `small` asks for those that need no Node.js."""
    if not small:
        try:
            return _real()
        except StepFailed as failed:
            say(f"the page of frontend/ cannot be built, a small one stands in for it: {failed}")
    return _small()


def _real() -> Pages:
    archives: dict[str, bytes] = {}
    for text in releases().values():
        archives[bundle_of(text)] = bundle.kept(yaml.safe_load(text)["spec"]["version"]).read()
    return Pages(archives, real=True)


def _small() -> Pages:
    maker = ROOT / "demo" / "images" / "make_bundle.py"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(maker), folder], check=True, capture_output=True)
        made = {f"bundles/{path.name}": path.read_bytes() for path in sorted(Path(folder).glob("*.tar.gz"))}
    return Pages(made, real=False)

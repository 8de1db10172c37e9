"""What the tests of the container images need: buildah, and a base image to build on. Standard library only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from agui_dev.images.base import find_python_base, python_base
from agui_dev.images.store import open_store
from agui_dev.setup import packages
from agui_dev.steps import StepFailed

# program -> the Debian packages that bring it
PACKAGES = {"buildah": ("buildah", "crun"), "debootstrap": ("debootstrap",)}


def missing(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The programs that are not on PATH."""
    return [name for name in PACKAGES if shutil.which(name, path=environ.get("PATH")) is None]


def ensure() -> None:
    """buildah and a base image are there afterwards. Raises StepFailed with what to do where that is not possible.

    Where images can be built but only with the slow `vfs` driver, no base image is made: the tests skip there too.
    """
    if os.geteuid() != 0:
        raise StepFailed("Images are built in chroot isolation, which needs root; you are not root.")
    if "buildah" in missing():
        _install("buildah")
    store = open_store()
    if store.driver != "overlay" or find_python_base(store) is not None:
        return
    if "debootstrap" in missing():
        _install("debootstrap")
    python_base(store)


def _install(program: str) -> None:
    names = PACKAGES[program]
    advice = (
        f"The images are built with {program}, and it is not on PATH. Install it "
        f"(Debian, Ubuntu: `sudo apt-get install {' '.join(names)}`)."
    )
    packages.install(names, advice, estimate_s=30)
    if program in missing():
        raise StepFailed(f"The packages {', '.join(names)} were installed, yet {program} is not on PATH.")
